#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use std::io;
use std::sync::Mutex;

use crossbeam_channel::bounded;

/// A server that closes after what it has said.
#[derive(Default)]
struct Brief(Mutex<Vec<u8>>);

impl Transport for Brief {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = self.0.lock().unwrap();
        let n = left.len().min(buffer.len());
        buffer[..n].copy_from_slice(&left[..n]);
        left.drain(..n);
        Ok(n)
    }
    fn write_all(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
    fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
    fn shutdown(&self, _: std::net::Shutdown) {}
}

struct Nothing;

impl OwnTables for Nothing {
    fn in_source(&self) -> Vec<crate::lsn::Oid> {
        Vec::new()
    }
}

impl GapAnnouncement for Nothing {
    fn announce_gap(&self, _: Lsn, _: u32) -> Result<()> {
        Ok(())
    }
}

fn reader() -> (Reader, Receiver<ReaderEvent>) {
    let none: [(std::ffi::OsString, std::ffi::OsString); 0] = [];
    let config = Config::from_vars(none).unwrap().0;
    let (feed, fed) = bounded(4);
    let (_, spare) = bounded(1);
    let reader = Reader {
        tracked: Tracked::new(&config),
        config: Arc::new(config),
        control: Arc::default(),
        feedback: Arc::default(),
        metrics: Arc::default(),
        own: Arc::new(Nothing),
        system_identifier: String::new(),
        known: None,
        gaps: Box::new(Nothing),
        feed,
        spare,
        warned: BTreeSet::new(),
        large: LargeFrames::default(),
        preconnected: None,
    };
    (reader, fed)
}

fn memory() -> Memory {
    Memory {
        encoding: "UTF8",
        first_only_until: None,
        publication_gone: false,
        end: Lsn::ZERO,
        gap: None,
        streamed: false,
        busy_since: None,
    }
}

#[test]
fn a_stream_that_was_asked_for_again_while_it_connected_is_left_at_once() {
    let (mut reader, fed) = reader();
    let mut stream = Stream {
        transport: Arc::new(Brief(Mutex::new(b"d\0\0\0\x05x".to_vec()))),
        rest: Vec::new(),
        epoch: reader.feedback.new_epoch(Lsn(7)),
    };
    // The writer gives up the run when the reader has read its number and not yet registered.
    reader.feedback.new_epoch(Lsn(7));
    let error = reader.read(&mut stream, &mut memory()).unwrap_err();
    assert_eq!(error.remedy(), Remedy::Retry);
    assert!(fed.is_empty(), "nothing of the old run is handed on");
}
