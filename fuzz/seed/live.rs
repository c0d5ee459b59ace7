//! From a running server: the bytes of sessions, and of a replication stream with all that matters in it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use targets::session::NONCE;
use zemi::config::{Config, Endpoint};
use zemi::fuzzing::{Transport, connect_over, query_message};
use zemi::lsn::{Lsn, PgTimestamp};
use zemi::fuzzing::Chunk;
use zemi::fuzzing::source::message::{StreamMessage, parse};
use zemi::wire::Connection;

use super::{Corpus, golden};

/// A socket that keeps what was read from it, and the client's nonce.
struct Recorder {
    socket: TcpStream,
    read: Mutex<Vec<u8>>,
    nonce: Mutex<Option<Vec<u8>>>,
}

impl Recorder {
    fn new(port: &str) -> Arc<Recorder> {
        Arc::new(Recorder {
            socket: TcpStream::connect(format!("127.0.0.1:{port}")).unwrap(),
            read: Mutex::default(),
            nonce: Mutex::default(),
        })
    }

    /// What was read so far, with the mark in the place of the nonce.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.read.lock().unwrap().clone();
        if let Some(nonce) = &*self.nonce.lock().unwrap()
            && let Some(at) = bytes.windows(24).position(|window| window == nonce)
        {
            bytes[at..at + 24].copy_from_slice(NONCE);
        }
        bytes
    }
}

impl Transport for Recorder {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = Transport::read(&self.socket, buffer)?;
        self.read.lock().unwrap().extend(&buffer[..count]);
        Ok(count)
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mark = b"n,,n=,r=";
        if let Some(at) = bytes.windows(mark.len()).position(|window| window == mark) {
            let nonce = &bytes[at + mark.len()..][..24];
            *self.nonce.lock().unwrap() = Some(nonce.to_vec());
        }
        self.socket.write_all(bytes)
    }

    fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        Transport::set_read_timeout(&self.socket, limit)
    }

    fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        Transport::set_write_timeout(&self.socket, limit)
    }

    fn shutdown(&self, how: Shutdown) {
        Transport::shutdown(&self.socket, how);
    }
}

struct Server<'a> {
    port: &'a str,
    endpoint: Endpoint,
}

impl Server<'_> {
    fn open(&self, parameters: &[(&str, &str)]) -> (Connection, Arc<Recorder>) {
        let recorder = Recorder::new(self.port);
        let transport: Arc<dyn Transport> = recorder.clone();
        let deadline = Instant::now() + Duration::from_secs(60);
        let session = connect_over(transport, &self.endpoint, parameters, deadline).unwrap();
        (session, recorder)
    }
}

pub fn write(corpus: &Corpus, major: &str, port: &str) {
    let vars = [("DB_HOST", "127.0.0.1"), ("DB_PASSWORD", "zemi-test")];
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    let endpoint = Config::from_vars(vars).unwrap().0.source;
    let server = Server { port, endpoint };
    sessions(corpus, major, &server);
    stream(corpus, major, &server);
}

fn sessions(corpus: &Corpus, major: &str, server: &Server<'_>) {
    for (n, sql) in [
        "SELECT 1 AS one, NULL AS nothing, 'text' AS \"a \"\"name\"\"\"",
        "SELECT * FROM pg_settings LIMIT 3; SELECT typname, oid FROM pg_type LIMIT 5; BEGIN; COMMIT",
        "SELECT 1/0",
        "SELECT 'x'::json; SELECT 1",
        "",
        "DO $$ BEGIN RAISE WARNING 'w%', 1 USING HINT = 'h'; RAISE NOTICE 'n'; END $$",
        "LISTEN c; NOTIFY c, 'payload'; SET TimeZone = 'UTC'",
        "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT FROM t; nonsense",
    ]
    .iter()
    .enumerate()
    {
        let (mut session, recorder) = server.open(&[("application_name", "seed")]);
        let answered = session.query(sql);
        if answered.is_ok() {
            session.query("CREATE TEMP TABLE copied (a int)").unwrap();
            let _ = session.copy_in("COPY copied FROM STDIN", b"1\n2\n");
            let _ = session.copy_in("COPY copied FROM STDIN", b"x\n");
        }
        let bytes = recorder.bytes();
        let name = format!("pg{major}-session-{n}");
        corpus.add("session", &name, &[&[0], bytes.as_slice()].concat());
        // Without the password, so that what follows is reached; in pieces.
        let open = [&[n as u8 * 7 + 1][..], b"R\0\0\0\x08\0\0\0\0", after_login(&bytes)].concat();
        corpus.add("session", &format!("{name}-open"), &open);
        corpus.add("frames", &name, &bytes);
        for body in bodies(&bytes, b'E').into_iter().chain(bodies(&bytes, b'C')) {
            corpus.add("answers", &format!("{name}-{}", body.len()), body);
        }
    }
}

/// The whole messages in the bytes.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [_, a, b, c, d, ..] = *bytes {
        let length = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((message, rest)) = bytes.split_at_checked(length) else {
            break;
        };
        found.push(message);
        bytes = rest;
    }
    found
}

fn bodies(bytes: &[u8], tag: u8) -> Vec<&[u8]> {
    let of_tag = messages(bytes).into_iter().filter(|m| m[0] == tag);
    of_tag.map(|m| &m[5..]).collect()
}

fn after_login(bytes: &[u8]) -> &[u8] {
    let login = messages(bytes).into_iter().take_while(|m| m[0] == b'R');
    &bytes[login.map(<[u8]>::len).sum::<usize>()..]
}

/// What is written to follow it.
const SCENARIO: &str = include_str!("scenario.sql");

fn stream(corpus: &Corpus, major: &str, server: &Server<'_>) {
    let (mut sql, _) = server.open(&[]);
    sql.query("CREATE PUBLICATION seed FOR ALL TABLES").unwrap();
    sql.query("SELECT pg_create_logical_replication_slot('seed', 'pgoutput')")
        .unwrap();
    for statement in SCENARIO.split("-- next\n") {
        sql.query(statement).unwrap();
    }
    let end = sql.rows("SELECT pg_current_wal_flush_lsn()").unwrap();
    let end: Lsn = end.first(0).unwrap().parse().unwrap();
    let (mut walsender, recorder) =
        server.open(&[("replication", "database"), ("TimeZone", "UTC")]);
    let command = "START_REPLICATION SLOT seed LOGICAL 0/0 \
                   (proto_version '1', publication_names 'seed', messages 'true')";
    walsender.send(&query_message(command).unwrap()).unwrap();
    let start = recorder.bytes().len();
    let mut messages_read = Vec::new();
    loop {
        let (tag, body) = walsender.receive().unwrap();
        if tag != b'd' {
            continue;
        }
        match parse(body).unwrap() {
            StreamMessage::XLogData(data) => {
                messages_read.push((data.start, data.payload.to_vec()));
            }
            StreamMessage::Keepalive(keepalive) if keepalive.wal_end >= end => break,
            StreamMessage::Keepalive(_) => {}
        }
    }
    let bytes = recorder.bytes()[start..].to_vec();
    // Each chunk as a read of the socket could have brought it.
    for (n, chunk) in bytes.chunks(4096).enumerate() {
        corpus.add("frames", &format!("pg{major}-stream-{n}"), chunk);
    }
    let chunk = Chunk {
        filled: bytes.len(),
        bytes,
        received_at: PgTimestamp(0),
        large: None,
    };
    assert!(chunk.copy_data().count() >= messages_read.len());
    for (n, part) in transactions(&messages_read).iter().enumerate() {
        golden::stream(corpus, &format!("pg{major}-live-{n}"), part);
    }
}

/// The stream cut into runs of some transactions, each with the relations it needs in front.
fn transactions(messages: &[(Lsn, Vec<u8>)]) -> Vec<Vec<(Lsn, Vec<u8>)>> {
    let mut runs = Vec::new();
    let mut run: Vec<(Lsn, Vec<u8>)> = Vec::new();
    let mut relations: Vec<(Lsn, Vec<u8>)> = Vec::new();
    let mut size = 0;
    for message in messages {
        if matches!(message.1[0], b'R' | b'Y') {
            relations.push(message.clone());
        }
        size += message.1.len();
        run.push(message.clone());
        if message.1[0] == b'C' && size > 2000 {
            runs.push(std::mem::replace(&mut run, relations.clone()));
            size = 0;
        }
    }
    runs.push(run);
    runs
}
