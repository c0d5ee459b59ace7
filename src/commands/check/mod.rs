//! `zemi check`: connects to both sides as the service would, changes nothing, and says what it finds.

mod destination;
mod encryption;
mod slot;
mod source;
mod tables;

use super::finding::Findings;
use super::print;
use crate::config::Config;
use crate::error::{Exit, Result};

/// Prints what was found; the exit code is 78 where something does not work.
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
