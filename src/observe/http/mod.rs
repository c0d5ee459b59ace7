//! A web server for a few small pages: health, metrics, status.
//!
//! It is our own. `tiny_http` 0.12 (its issues 56 and 143) accepts without limit, lets a thread wait for
//! each connection for ever, and lets a head grow as long as the client sends: a thousand idle
//! connections cost a thousand stacks, one endless header all memory, and nothing in front of it in
//! the same process could tell who is idle. This one never has more than [`server::MOST`] connections: a
//! new one takes the place of the oldest that has asked nothing yet, so that somebody who asks is
//! answered, whoever else holds connections open. A head is at most [`request::LONGEST_HEAD`] long, and
//! both the request and the response have a time limit for the whole of it, however slowly bytes drip.

pub mod request;
pub mod server;

pub use request::{Method, Request};

/// What a page may do: its own script and style, and questions to this server. Nothing may be asked of
/// anybody else, and no other page may show ours in a frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code (RFC 9110, section 15).
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The content.
    pub body: String,
}

impl Response {
    /// A line of plain text.
    pub fn text(status: u16, line: &str) -> Response {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n"),
        }
    }

    /// JSON.
    pub fn json(status: u16, body: String) -> Response {
        Response {
            status,
            content_type: "application/json",
            body,
        }
    }

    /// The message as bytes (RFC 9112, section 2.1); without the content for HEAD.
    fn encode(&self, method: Method) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "",
        };
        let allow = match self.status {
            405 => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let mut message = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: \
             no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: {POLICY}\r\n\
             Connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if method != Method::Head {
            message.push_str(&self.body);
        }
        message.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_answered_without_content_and_with_its_length() {
        let response = Response::text(200, "hello");
        let head = String::from_utf8_lossy(&response.encode(Method::Head)).into_owned();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Length: 6\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let get = String::from_utf8_lossy(&response.encode(Method::Get)).into_owned();
        assert_eq!(get, format!("{head}hello\n"));
    }
}
