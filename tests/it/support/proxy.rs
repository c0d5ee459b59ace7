//! A network between zemi and a server that can be made to fail.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What the network does to the bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// Nothing: all bytes pass.
    None,
    /// Nothing passes and nothing closes, in neither direction; bytes wait.
    Stalled,
    /// Half-open: nothing passes and nothing closes, and what was sent meanwhile never arrives.
    Vanishing,
    /// What the client sends waits; the server's answers pass.
    HoldingClient,
    /// What the server sends waits; it gets all that the client sends.
    HoldingServer,
    /// New connections are closed at once.
    Refusing,
    /// Bytes pass one by one.
    Dripping,
    /// Every piece waits this many milliseconds.
    Slow(u64),
    /// A connection is cut when this many more bytes went through it, the last piece in part.
    CutAfter(u64),
    /// The first row from the server with a value that is this text arrives with a kind of value that does
    /// not exist.
    Garbling(&'static str),
    /// The client's end is cut when it has sent the end of a COPY, each third time; the server gets all
    /// of it.
    LosingReplies,
}

/// What becomes of bytes on their way to the client.
#[derive(Debug, Clone)]
pub struct Damage {
    /// These bytes …
    pub find: Vec<u8>,
    /// … become these, as many.
    pub put: Vec<u8>,
    /// So often; later bytes pass unchanged.
    pub times: u32,
}

/// A port of 127.0.0.1 that leads to another one.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The port that it leads to.
    to: AtomicU16,
    /// What it does, and until when.
    fault: Mutex<(NetworkFault, Option<Instant>)>,
    damage: Mutex<Option<Damage>>,
    connections: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
    copies: AtomicU64,
    replies_lost: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Leads to this port of 127.0.0.1.
    pub fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            to: AtomicU16::new(to),
            fault: Mutex::new((NetworkFault::None, None)),
            damage: Mutex::default(),
            connections: Mutex::default(),
            closed: AtomicBool::new(false),
            copies: AtomicU64::new(0),
            replies_lost: AtomicU64::new(0),
        });
        let held = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if held.closed.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                if held.fault() == NetworkFault::Refusing {
                    continue;
                }
                let Ok(server) =
                    TcpStream::connect((Ipv4Addr::LOCALHOST, held.to.load(Ordering::SeqCst)))
                else {
                    continue;
                };
                held.join(client, server);
            }
        });
        Proxy { port, shared }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads to another port from now on; what is open is cut.
    pub fn lead_to(&self, port: u16) {
        self.shared.to.store(port, Ordering::SeqCst);
        self.cut();
    }

    /// This fault for so long.
    pub fn set_for(&self, fault: NetworkFault, time: Duration) {
        *lock(&self.shared.fault) = (fault, Some(Instant::now() + time));
    }

    /// This fault from now on, for connections that are open too.
    pub fn set(&self, fault: NetworkFault) {
        self.shared.set_fault(fault);
    }

    /// Damages what the server sends from now on.
    pub fn damage(&self, damage: Option<Damage>) {
        *lock(&self.shared.damage) = damage;
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for stream in lock(&self.shared.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often a reply was lost.
    pub fn replies_lost(&self) -> u64 {
        self.shared.replies_lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn fault(&self) -> NetworkFault {
        match *lock(&self.fault) {
            (_, Some(until)) if Instant::now() >= until => NetworkFault::None,
            (fault, _) => fault,
        }
    }

    fn set_fault(&self, fault: NetworkFault) {
        *lock(&self.fault) = (fault, None);
    }

    fn join(self: &Arc<Shared>, client: TcpStream, server: TcpStream) {
        let budget = Arc::new(AtomicU64::new(0));
        let ends = [&client, &server].map(|s| s.try_clone().unwrap());
        lock(&self.connections).extend(ends);
        for (from, to, up) in [(&client, &server, true), (&server, &client, false)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let _ = to.set_nodelay(true);
            let (shared, budget) = (Arc::clone(self), Arc::clone(&budget));
            thread::spawn(move || shared.pump(from, to, up, &budget));
        }
    }

    /// Moves bytes one way until an end closes; then closes the other.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, up: bool, passed: &AtomicU64) {
        let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
        let mut buffer = [0; 16 * 1024];
        let mut began = None;
        let mut held = Vec::new();
        let mut lost = false;
        while !self.closed.load(Ordering::SeqCst) {
            let fault = self.fault();
            let waits = match fault {
                NetworkFault::Stalled => true,
                NetworkFault::HoldingClient => up,
                NetworkFault::HoldingServer => !up,
                _ => false,
            };
            if waits {
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            let vanishing = fault == NetworkFault::Vanishing;
            if lost && !vanishing {
                // A stream of which a part is missing cannot go on.
                break;
            }
            let read = match from.read(&mut buffer) {
                // That it closed does not arrive either.
                Ok(0) if vanishing => {
                    lost = true;
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Ok(_) if vanishing => {
                    lost = true;
                    continue;
                }
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    // What could have been the beginning of something was not.
                    if to.write_all(&held).is_err() {
                        break;
                    }
                    held.clear();
                    continue;
                }
                Err(_) => break,
            };
            if let NetworkFault::Garbling(text) = fault
                && !up
                && garble(&mut buffer[..read], text.as_bytes())
            {
                self.set_fault(NetworkFault::None);
            }
            held.extend_from_slice(&buffer[..read]);
            let bytes = if up {
                std::mem::take(&mut held)
            } else {
                self.damaged(&mut held)
            };
            let (bytes, read) = (bytes.as_slice(), bytes.len());
            let sent = match fault {
                NetworkFault::Dripping => bytes.chunks(1).try_for_each(|byte| to.write_all(byte)),
                NetworkFault::Slow(milliseconds) => {
                    thread::sleep(Duration::from_millis(milliseconds));
                    to.write_all(bytes)
                }
                NetworkFault::CutAfter(limit) => {
                    let start = *began.get_or_insert_with(|| passed.load(Ordering::SeqCst));
                    let so_far = passed.load(Ordering::SeqCst).saturating_sub(start);
                    let left = limit.saturating_sub(so_far) as usize;
                    let part = &bytes[..read.min(left)];
                    let done = to.write_all(part);
                    if part.len() < read {
                        break;
                    }
                    done
                }
                _ => {
                    began = None;
                    to.write_all(bytes)
                }
            };
            passed.fetch_add(read as u64, Ordering::SeqCst);
            if sent.is_err() {
                break;
            }
            if fault == NetworkFault::LosingReplies
                && up
                && bytes.ends_with(b"c\0\0\0\x04")
                && self.copies.fetch_add(1, Ordering::SeqCst) % 3 == 2
            {
                self.replies_lost.fetch_add(1, Ordering::SeqCst);
                let _ = from.shutdown(Shutdown::Both);
                // The server is told only after it had the time to commit.
                thread::sleep(Duration::from_millis(300));
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Takes what can pass out of `held`, damaged: all but an end that may be the beginning of what is
    /// looked for.
    fn damaged(&self, held: &mut Vec<u8>) -> Vec<u8> {
        let mut damage = lock(&self.damage);
        let Some(Damage { find, put, times }) = &mut *damage else {
            return std::mem::take(held);
        };
        while *times > 0
            && let Some(at) = held.windows(find.len()).position(|bytes| bytes == find)
        {
            held[at..at + find.len()].copy_from_slice(put);
            *times -= 1;
        }
        let beginning = (1..find.len()).rev().find(|&n| held.ends_with(&find[..n]));
        let kept = held.split_off(held.len() - beginning.unwrap_or(0));
        std::mem::replace(held, kept)
    }
}

/// Before the text of a value stand `t` and its length (TupleData in "Logical Replication Message Formats").
fn garble(bytes: &mut [u8], text: &[u8]) -> bool {
    let mut kinds = bytes.windows(5 + text.len());
    let kind = kinds.position(|value| value[0] == b't' && value[5..] == *text);
    if let Some(kind) = kind {
        bytes[kind] = b'?';
    }
    kind.is_some()
}
