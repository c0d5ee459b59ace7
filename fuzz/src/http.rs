//! The head of a request to the health and metrics ports.

use zemi::fuzzing::Request;

use super::meter;

pub fn run(data: &[u8]) {
    meter::within(data.len(), 4, 16 * 1024, || {
        let whole = Request::parse(data);
        match &whole {
            Ok(Some(request)) => assert!(request.path.starts_with('/')),
            Ok(None) => assert!(data.len() < 8 * 1024),
            Err(response) => assert!(matches!(response.status, 400 | 405 | 431)),
        }
        // What is said of a beginning holds when more has arrived.
        for end in [data.len() / 2, data.len().saturating_sub(1)] {
            match Request::parse(&data[..end]) {
                Ok(None) => {}
                // Too long so far, as far as anybody can tell.
                Err(response) if response.status == 431 => {}
                earlier => assert_eq!(
                    earlier.map_err(|r| r.status),
                    whole.clone().map_err(|r| r.status)
                ),
            }
        }
    });
}
