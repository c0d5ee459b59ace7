//! Hostile clients of the web pages: the pipeline and its memory do not notice them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::http::{free_port, get, resident_kilobytes, try_get, with_ports};
use crate::support::scene::{PATIENCE, caught_up, settings, streaming};
use crate::support::{Server, Sql, wait_until};

/// How much more memory zemi may have in the middle of all of them, in kB: a connection costs a stack of
/// which little is touched, and there are few at a time.
const MOST_GROWTH: u64 = 4 * 1024;

/// A client that connects again and again until `over`.
fn comes_again(port: u16, over: &AtomicBool, visits: &AtomicU64, visit: impl Fn(&mut TcpStream)) {
    while !over.load(Ordering::SeqCst) {
        let Ok(mut client) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        let patience = Some(Duration::from_secs(5));
        client.set_write_timeout(patience).unwrap();
        client.set_read_timeout(patience).unwrap();
        visit(&mut client);
        visits.fetch_add(1, Ordering::SeqCst);
    }
}

/// Headers without end, as long as they are taken.
fn endless_headers(client: &mut TcpStream) {
    let _ = client.write_all(b"GET / HTTP/1.1\r\n");
    while client
        .write_all(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
        .is_ok()
    {}
}

/// Bytes that are no request.
fn garbage(client: &mut TcpStream) {
    let _ = client.write_all(&[0xff; 20_000]);
    let _ = client.write_all(b"\r\n\r\n");
    let _ = client.read(&mut [0; 64]);
}

/// A request whose answer is read byte by byte, and never to its end.
fn slow_reader(client: &mut TcpStream) {
    let _ = client.write_all(b"GET /status HTTP/1.1\r\n\r\n");
    for _ in 0..20 {
        if !matches!(client.read(&mut [0; 1]), Ok(1)) {
            break;
        }
        thread::yield_now();
    }
}

/// Many requests at once, none of whose answers is read.
fn no_reader(client: &mut TcpStream) {
    for _ in 0..100 {
        if client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").is_err() {
            break;
        }
    }
}

/// Tells the clients to stop, also where the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn hostile_clients_touch_neither_pipeline_nor_memory() {
    let server = Server::start(15, &[]);
    let port = free_port();
    let zemi = streaming(&with_ports(settings(&server, None), port, port));
    let mut sql = Sql::open(&server, "postgres");
    sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    // What a first batch and a first page need is no growth.
    sql.run("INSERT INTO t SELECT generate_series(-1000, -1)");
    caught_up(&mut sql);
    for path in ["/metrics", "/status", "/status.json", "/readyz"] {
        assert_eq!(get(port, path).0, 200);
    }
    let before = resident_kilobytes(&zemi);
    let (over, visits) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let (mut most, mut slowest, mut tries) = (before, Duration::ZERO, 0);
    thread::scope(|scope| {
        for visit in [endless_headers, garbage, slow_reader, no_reader] {
            scope.spawn(move || comes_again(port, over, visits, visit));
        }
        let end = End(over);
        let mut idle = Vec::new();
        for n in 0..1000 {
            idle.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
            if n % 50 == 0 {
                sql.run(&format!("INSERT INTO t VALUES ({n})"));
                // Not an answer for each try: an honest client may lose its place to a rush of others.
                wait_until("an honest client is answered", PATIENCE, || {
                    tries += 1;
                    let began = Instant::now();
                    let answer = try_get(port, "/readyz");
                    slowest = slowest.max(began.elapsed());
                    answer.is_some_and(|(status, _)| status == 200)
                });
                most = most.max(resident_kilobytes(&zemi));
            }
        }
        caught_up(&mut sql);
        most = most.max(resident_kilobytes(&zemi));
        drop(end);
        drop(idle);
    });
    assert_eq!(sql.value("SELECT count(*) FROM changes"), "1020");
    println!(
        "{} hostile visits beside 1000 idle connections: memory {before} kB, then at most {most} kB; \
         20 honest questions in {tries} tries, the slowest took {slowest:?}",
        visits.load(Ordering::SeqCst)
    );
    assert!(most - before < MOST_GROWTH, "{} kB more", most - before);
    assert!(visits.load(Ordering::SeqCst) > 20, "nobody was hostile");
}
