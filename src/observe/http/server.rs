//! The listener and its connections: a thread for each, bounded in number and time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::request::{MAX_HEAD, Method, Request};
use super::response::Response;
use crate::error::{Error, Kind, Result};
use crate::threads::{STACK, lock};

/// How many connections there are at a time, at most.
pub const MAX_CONNECTIONS: usize = 32;

/// How long a request may take to arrive as a whole, and a response to be sent.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Answers a request.
pub type Answer = dyn Fn(&Request) -> Response + Send + Sync;

/// Listens on this address and answers until the process ends.
///
/// # Errors
/// [`Kind::Setting`] where the address cannot be listened on; `setting` names the variable to change.
pub fn start(setting: &str, address: IpAddr, port: u16, answer: Arc<Answer>) -> Result<()> {
    let address = SocketAddr::new(address, port);
    let cannot = |e: io::Error| {
        Error::new(
            Kind::Setting,
            format!("cannot listen on {address}, as {setting} asks"),
        )
        .caused_by(e)
        .hint(format!("give {setting} a port that is free"))
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let open = Arc::new(Open::default());
    thread::Builder::new()
        .name("http".into())
        .stack_size(STACK)
        .spawn(move || accept(&listener, &open, &answer))
        .map(drop)
        .map_err(cannot)
}

fn accept(listener: &TcpListener, open: &Arc<Open>, answer: &Arc<Answer>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // The process has most likely no free file descriptor; connections that end free some.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Ok(handle) = stream.try_clone() else {
            continue;
        };
        let id = open.enter(handle);
        let (open, answer) = (Arc::clone(open), Arc::clone(answer));
        let connection = OpenConnection { open, id };
        // Where no thread can be started, the connection is closed.
        let _ = thread::Builder::new()
            .name("http".into())
            .stack_size(STACK)
            .spawn(move || {
                let mut stream = stream;
                // A client that closes the connection early is not an error of this program.
                let _ = serve(&mut stream, &connection, &*answer);
            });
    }
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Open {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    connections: VecDeque<Connection>,
}

struct Connection {
    id: u64,
    stream: TcpStream,
    /// A whole request was received.
    asked: bool,
}

impl State {
    /// The connection to close for a new one: the oldest without a request, else the oldest.
    fn dispensable(&self) -> Option<&Connection> {
        let silent = self.connections.iter().find(|c| !c.asked);
        silent.or_else(|| self.connections.front())
    }
}

impl Open {
    /// Adds a connection; at the limit, another one is closed first.
    fn enter(&self, stream: TcpStream) -> u64 {
        let mut state = lock(&self.state);
        while state.connections.len() >= MAX_CONNECTIONS {
            if let Some(connection) = state.dispensable() {
                let _ = connection.stream.shutdown(Shutdown::Both);
            }
            state = self
                .left
                .wait_timeout(state, TIME_LIMIT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.next += 1;
        let id = state.next;
        let asked = false;
        state
            .connections
            .push_back(Connection { id, stream, asked });
        id
    }
}

/// Removes a connection, however its thread ends.
struct OpenConnection {
    open: Arc<Open>,
    id: u64,
}

impl OpenConnection {
    /// Notes that a whole request was received.
    fn asked(&self) {
        let mut state = lock(&self.open.state);
        if let Some(connection) = state.connections.iter_mut().find(|c| c.id == self.id) {
            connection.asked = true;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut state = lock(&self.open.state);
        state.connections.retain(|c| c.id != self.id);
        self.open.left.notify_all();
    }
}

fn serve(stream: &mut TcpStream, connection: &OpenConnection, answer: &Answer) -> io::Result<()> {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut head = Vec::with_capacity(1024);
    let (method, response) = loop {
        match Request::parse(&head) {
            Ok(Some(request)) => {
                connection.asked();
                break (request.method, answer(&request));
            }
            Ok(None) => {}
            Err(response) => break (Method::Get, response),
        }
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        let mut buffer = [0; 1024];
        let room = buffer.len().min(MAX_HEAD.saturating_sub(head.len()));
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let read = stream.read(buffer)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
    };
    drop(head);
    send(stream, &response.encode(method == Method::Get))?;
    stream.shutdown(Shutdown::Write)?;
    // Closing with unread bytes makes the kernel reset the connection, which can lose the response: a
    // little of what the client still sends is read first.
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let _ = stream.read(&mut [0; 1024])?;
    Ok(())
}

/// Sends a response within [`TIME_LIMIT`], all of it.
fn send(stream: &mut TcpStream, response: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut rest = response;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(time_left(deadline)?))?;
        let sent = stream.write(rest)?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// The time left; an error at the deadline.
fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::net::Ipv4Addr;

    /// A free port; another process might take it before it is used, which has not been seen.
    fn port() -> u16 {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        probe.local_addr().unwrap().port()
    }

    fn server() -> u16 {
        let port = port();
        let answer: Arc<Answer> = Arc::new(|request: &Request| Response::text(200, &request.path));
        start("HEALTH_PORT", Ipv4Addr::LOCALHOST.into(), port, answer).unwrap();
        port
    }

    fn ask(port: u16, request: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(request).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_setting() {
        let port = server();
        let answer: Arc<Answer> = Arc::new(|_: &Request| Response::text(200, ""));
        let error = start("METRICS_PORT", Ipv4Addr::LOCALHOST.into(), port, answer).unwrap_err();
        assert_eq!(error.kind(), Kind::Setting);
        assert!(
            error.to_string().contains("as METRICS_PORT asks"),
            "{error}"
        );
    }

    #[test]
    fn a_request_in_pieces_is_answered() {
        let port = server();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        for piece in ["GE", "T /a", " HTTP/1.1\r\nHost: x\r\n", "\r", "\n"] {
            stream.write_all(piece.as_bytes()).unwrap();
            stream.flush().unwrap();
        }
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("\r\n\r\n/a\n"), "{response}");
    }

    #[test]
    fn who_asks_is_answered_while_others_hold_connections_open() {
        let port = server();
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let idle: Vec<TcpStream> = (0..10 * MAX_CONNECTIONS).map(|_| connect()).collect();
        for _ in 0..3 {
            let response = ask(port, b"GET /b HTTP/1.1\r\n\r\n");
            assert!(response.ends_with("/b\n"), "{response}");
        }
        // The oldest had to go.
        let mut first = idle.first().unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn who_has_asked_stays_before_who_has_not() {
        let open = Arc::new(Open::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let enter = || {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (id, open) = (open.enter(stream), Arc::clone(&open));
            OpenConnection { open, id }
        };
        let (first, second) = (enter(), enter());
        let goes = || lock(&open.state).dispensable().map(|c| c.id);
        assert_eq!(goes(), Some(first.id));
        first.asked();
        assert_eq!(goes(), Some(second.id));
        second.asked();
        assert_eq!(goes(), Some(first.id));
        drop(first);
        assert_eq!(goes(), Some(second.id));
    }

    #[test]
    fn endless_headers_and_garbage_are_answered_and_closed() {
        let port = server();
        let response = ask(port, &[b'x'; MAX_HEAD]);
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
        let response = ask(port, b"\x16\x03\x01\x02\x00\r\n\r\n");
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    }
}
