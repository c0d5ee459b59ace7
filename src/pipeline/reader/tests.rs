#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::io;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, bounded};

use super::connect::Stream;
use super::findings::{Findings, PublicationNames};
use super::*;
use crate::error::Remedy;
use crate::lsn::Lsn;
use crate::observe::metrics::Metrics;
use crate::pipeline::channel::LargeFrames;
use crate::wire::Transport;

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

fn output() -> (Output, Receiver<ReaderEvent>) {
    let (events, received) = bounded(4);
    let (_, spare) = bounded(1);
    let output = Output {
        control: Arc::default(),
        feedback: Arc::default(),
        events,
        spare,
        large: LargeFrames::default(),
    };
    (output, received)
}

fn stream(output: &Output, bytes: &[u8]) -> Stream {
    Stream {
        transport: Arc::new(Brief(Mutex::new(bytes.to_vec()))),
        rest: Vec::new(),
        epoch: output.feedback.new_epoch(Lsn(7)),
    }
}

/// Reads the stream to its end; the error, and what the publications are taken for.
fn read(output: &Output, stream: Stream) -> (Error, PublicationNames) {
    let mut findings = Findings::default();
    let metrics = Metrics::default();
    let error = FrameReader::new(stream, output, &metrics)
        .read(&mut findings)
        .unwrap_err();
    (error, findings.publications)
}

#[test]
fn a_stream_that_was_asked_for_again_while_it_connected_is_left_at_once() {
    let (output, received) = output();
    let stream = stream(&output, b"d\0\0\0\x05x");
    // The writer gives up the epoch when the reader has read its number and not yet registered.
    output.feedback.new_epoch(Lsn(7));
    let (error, _) = read(&output, stream);
    assert_eq!(error.remedy(), Remedy::Retry);
    assert!(received.is_empty(), "nothing of the old epoch is handed on");
}

#[test]
fn frames_before_an_error_are_handed_on_and_the_error_is_kept() {
    let (output, received) = output();
    let bytes = b"d\0\0\0\x05xd\0\0\0\x05yE\0\0\0\x13C42704\0Mmissing\0\0";
    let (error, publications) = read(&output, stream(&output, bytes));
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(publications, PublicationNames::First);
    let Ok(ReaderEvent::Frames(chunk)) = received.try_recv() else {
        panic!("no chunk");
    };
    let bodies: Vec<_> = chunk.copy_data().map(Result::unwrap).collect();
    assert_eq!(bodies, [b"x", b"y"]);
}

#[test]
fn a_warning_that_changes_were_passed_over_ends_the_stream() {
    let (output, received) = output();
    let bytes = b"N\0\0\0\x13C55000\0Mskipped\0\0d\0\0\0\x05x";
    let (error, publications) = read(&output, stream(&output, bytes));
    assert_eq!(error.remedy(), Remedy::Retry);
    assert_eq!(publications, PublicationNames::First);
    assert!(received.is_empty(), "nothing behind the warning counts");
}

/// A frame of XLogData with this payload.
fn frame(start: u64, payload: &[u8]) -> Vec<u8> {
    let body = [&b"w"[..], &start.to_be_bytes(), &[0; 16], payload].concat();
    let length = u32::try_from(body.len() + 4).unwrap();
    [&b"d"[..], &length.to_be_bytes(), &body].concat()
}

#[test]
fn a_large_logical_message_of_another_program_is_not_read_into_memory() {
    const SIZE: usize = 3_000_000;
    let message = |prefix: &[u8]| [b"M\x00", &[0; 8][..], prefix, &vec![b'x'; SIZE]].concat();
    let row = frame(5, b"I");
    for (prefix, kept) in [(&b"debezium\0"[..], false), (b"_bemi\0", true)] {
        let (output, received) = output();
        let bytes = [
            row.clone(),
            frame(6, &message(prefix)),
            row.clone(),
            row.clone(),
        ]
        .concat();
        let stream = stream(&output, &bytes);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&output, stream));
            let mut bodies = 0;
            let mut largest = 0;
            while !reader.is_finished() || !received.is_empty() {
                let Ok(ReaderEvent::Frames(chunk)) =
                    received.recv_timeout(Duration::from_millis(10))
                else {
                    continue;
                };
                bodies += chunk.copy_data().map(Result::unwrap).count();
                largest = largest.max(chunk.bytes.len());
            }
            assert_eq!(bodies, if kept { 4 } else { 3 });
            assert_eq!(largest > SIZE, kept, "{largest}");
        });
    }
}

#[test]
fn a_burst_of_keepalives_that_ask_for_a_reply_closes_the_stream_and_data_between_them_does_not() {
    let keepalive = [&b"d\0\0\0\x16k"[..], &[0; 16], b"\x01"].concat();
    for (between, stopping) in [(&b""[..], true), (b"d\0\0\0\x05x", false)] {
        let (output, _received) = output();
        let bytes = [&keepalive.repeat(49)[..], between, &keepalive.repeat(49)].concat();
        let (error, _) = read(&output, stream(&output, &bytes));
        assert_eq!(error.is_server_stopping(), stopping, "{error}");
    }
}
