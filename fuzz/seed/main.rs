//! Makes the first corpus of every target from what real servers sent.
//!
//!   seed OUT GOLDEN CERTIFICATES [MAJOR=PORT]...
//!
//! OUT gets a folder for each target; GOLDEN is `tests/golden`, the recorded messages of pgoutput;
//! CERTIFICATES holds some in DER. From each server on 127.0.0.1, which `scripts/fuzz/record-corpus.sh`
//! starts, all bytes are recorded of a session with every kind of answer, and of a replication stream.

mod golden;
mod hand;
mod live;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// Where inputs go: a file for each, by target and name.
pub struct Corpus(PathBuf);

impl Corpus {
    pub fn add(&self, target: &str, name: &str, input: &[u8]) {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), input).unwrap();
    }
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [out, golden, certificates, servers @ ..] = args.as_slice() else {
        eprintln!("usage: seed OUT GOLDEN CERTIFICATES [MAJOR=PORT]...");
        process::exit(64);
    };
    let corpus = Corpus(out.into());
    hand::write(&corpus);
    golden::write(&corpus, Path::new(golden));
    for entry in fs::read_dir(certificates).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        corpus.add(
            "certificate",
            &name.to_string_lossy(),
            &fs::read(entry.path()).unwrap(),
        );
    }
    for server in servers {
        let (major, port) = server.split_once('=').expect("MAJOR=PORT");
        live::write(&corpus, major, port);
    }
}
