//! A web server for a few small pages: health, metrics, status.
//!
//! It is our own because the small servers there are start a thread for every connection, and a thousand
//! idle connections would then cost a thousand stacks. This one never has more than [`server::MOST`]
//! connections: a new one takes the place of the oldest, so that somebody who asks is always answered,
//! whoever else holds connections open.

mod request;
pub mod server;

pub use request::{Method, Request};

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
             no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
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
