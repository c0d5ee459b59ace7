//! The head of a request (RFC 9112, sections 2 to 5): method and path. Headers are ignored.

use super::response::Response;

/// The longest head of a request, in bytes.
pub const MAX_HEAD: usize = 8 * 1024;

/// A method that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The content.
    Get,
    /// What GET would answer, without the content.
    Head,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, without query.
    pub path: String,
}

impl Request {
    /// Reads a request from the bytes received so far; `None` while its head is not complete.
    ///
    /// # Errors
    /// The response to a head that is too long (431), not HTTP/1 (400) or of another method (405).
    pub fn parse(bytes: &[u8]) -> Result<Option<Request>, Response> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            return match bytes.len() < MAX_HEAD {
                true => Ok(None),
                false => Err(Response::text(431, "the head of the request is too long")),
            };
        };
        let head = bytes.get(..end).unwrap_or_default();
        let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
        let bad = || Response::text(400, "expected: GET /path HTTP/1.1");
        let line = std::str::from_utf8(line).map_err(|_| bad())?;
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad());
        };
        if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return Err(bad());
        }
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => return Err(Response::text(405, "expected GET or HEAD")),
        };
        let path = target.split('?').next().unwrap_or_default().to_owned();
        Ok(Some(Request { method, path }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Request>, u16> {
        Request::parse(text.as_bytes()).map_err(|response| response.status)
    }

    #[test]
    fn a_request_is_its_method_and_path() {
        let found = parse("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let path = "/metrics".to_owned();
        let method = Method::Get;
        assert_eq!(found, Ok(Some(Request { method, path })));
        let found = parse("HEAD / HTTP/1.0\r\n\r\nrest").map(|r| r.map(|r| r.method));
        assert_eq!(found, Ok(Some(Method::Head)));
    }

    #[test]
    fn an_unfinished_head_is_waited_for_up_to_a_limit() {
        assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
        assert_eq!(parse(&"a".repeat(MAX_HEAD - 1)), Ok(None));
        assert_eq!(parse(&"a".repeat(MAX_HEAD)), Err(431));
    }

    #[test]
    fn what_is_no_request_is_answered_as_such() {
        for (text, status) in [
            ("\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET / HTTP/2\r\n\r\n", 400),
            ("GET http://x/ HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1 x\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\n\r\n", 405),
        ] {
            assert_eq!(parse(text), Err(status), "{text:?}");
        }
        assert_eq!(
            Request::parse(b"\xff\xfe / HTTP/1.1\r\n\r\n").map_err(|r| r.status),
            Err(400)
        );
    }
}
