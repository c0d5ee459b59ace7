//! Standard output.

use std::io::Write;

/// Prints. A standard output that was closed is no error.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
