//! No output of zemi holds a secret of its settings.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

/// Shorter ones are found in any text.
const SHORTEST: usize = 4;

/// The secrets that a process was given by its environment, itself or in files.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Those of a command that is about to be started.
    pub fn of(command: &Command) -> Secrets {
        let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
        let set = command.get_envs();
        let set: HashMap<String, String> = set
            .filter_map(|(name, value)| Some((text(name), text(value?))))
            .collect();
        let mut secrets = Vec::new();
        for (name, value) in &set {
            let content = || fs::read(value).map(|b| String::from_utf8_lossy(&b).into_owned());
            if name.ends_with("PASSWORD") || name == "HASH_KEY" {
                secrets.push(value.clone());
            } else if name.ends_with("PASSWORD_FILE") || name == "HASH_KEY_FILE" {
                secrets.extend(content().map(|text| text.trim_end().to_owned()));
            } else if name.contains("_SSL_") && !name.ends_with("MODE") {
                let text = content().unwrap_or_default();
                secrets.extend(
                    text.lines()
                        .filter(|l| !l.contains("-----"))
                        .map(str::to_owned),
                );
            }
        }
        // A role may be called as its password is.
        secrets.retain(|secret| {
            let others = set.iter().filter(|(_, value)| *value == secret);
            let open =
                |(name, _): (&String, &String)| !name.contains("PASSWORD") && name != "HASH_KEY";
            secret.len() >= SHORTEST && !others.into_iter().any(open)
        });
        Secrets(secrets)
    }

    /// Fails where a text holds one of them.
    pub fn assert_none_in(&self, text: &str) {
        for secret in &self.0 {
            assert!(
                !text.contains(secret),
                "the secret {secret:?} is in this:\n{text}"
            );
        }
    }
}
