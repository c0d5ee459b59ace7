//! Passwords and keys, which are never printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The limit for a file with a password or key, in bytes: a larger one is another kind of file.
const MAX_FILE: u64 = 64 * 1024;

/// A password or key. `Debug` and `Display` print the same text for each, so that no log, error or dump of
/// the settings holds one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes, for the code that sends or uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// From a file, without the one newline that editors and `echo` end it with.
    ///
    /// # Errors
    /// What is wrong with the file, without its name, which may be the password itself by mistake, and
    /// without its content.
    pub(super) fn read(path: &Path) -> Result<Secret, String> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(|error| format!("cannot be read: {error}"))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("is larger than {MAX_FILE} bytes"));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Secret(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {secret:#?}")
                .matches("hunter2")
                .count(),
            0
        );
        assert_eq!(secret.expose(), b"hunter2");
    }

    #[test]
    fn a_file_loses_one_newline_and_nothing_else() {
        let path = std::env::temp_dir().join(format!("zemi-secret-{}", std::process::id()));
        for (content, expected) in [
            (&b"pass"[..], Ok(&b"pass"[..])),
            (b"pass\n", Ok(b"pass")),
            (b"pass\r\n", Ok(b"pass")),
            (b"pass\n\n", Ok(b"pass\n")),
            (b" pass \r", Ok(b" pass \r")),
            (b"\xff\n", Ok(b"\xff")),
            (b"", Ok(b"")),
            (b"\n", Ok(b"")),
            (&[b'x'; 65_537], Err("is larger than 65536 bytes")),
        ] {
            std::fs::write(&path, content).unwrap();
            let read = Secret::read(&path);
            let read = read.as_ref().map(Secret::expose).map_err(String::as_str);
            assert_eq!(read, expected, "{content:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let missing = Secret::read(&path).unwrap_err();
        assert!(
            missing.starts_with("cannot be read: No such file"),
            "{missing}"
        );
        let folder = Secret::read(&std::env::temp_dir()).unwrap_err();
        assert!(folder.starts_with("cannot be read: "), "{folder}");
    }
}
