//! `zemi check`: connects to both servers as the service would, changes nothing, and prints its findings.

mod destination;
mod encryption;
mod identities;
mod slot;
mod source;
mod tables;
mod versions;

use super::finding::Findings;
use super::output::print;
use crate::config::Config;
use crate::error::{Exit, Result};

/// Prints the findings. The exit code is 78 if one of them is a failure, else 0.
pub fn run(config: &Config, json: bool) -> Result<Exit> {
    let mut findings = Findings::default();
    let source = source::check(config, &mut findings);
    destination::check(config, source.as_ref(), &mut findings);
    print(&if json {
        findings.json()
    } else {
        findings.text()
    });
    Ok(if findings.failed() {
        Exit::Config
    } else {
        Exit::Ok
    })
}
