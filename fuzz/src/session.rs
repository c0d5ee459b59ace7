//! A server that says anything: login, the answer to a query, the answer to a COPY, and what follows.

use std::io;
use std::net::Shutdown;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use zemi::config::{Config, Endpoint};
use zemi::fuzzing::{Transport, connect_over};

use super::{is_fit_to_print, meter};

/// In the place of the client's nonce, which is another one each time; as long as that.
pub const NONCE: &[u8; 24] = b"<nonce of this session!>";

/// Says what it was given in pieces of one size, and takes what it is told.
struct Server {
    state: Mutex<State>,
    piece: usize,
}

struct State {
    bytes: Vec<u8>,
    said: usize,
}

impl Transport for Server {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let rest = &state.bytes[state.said..];
        let count = rest.len().min(self.piece).min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        state.said += count;
        Ok(count)
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mark = b"n,,n=,r=";
        let nonce = bytes.windows(mark.len()).position(|w| w == mark);
        let nonce = nonce.and_then(|at| bytes.get(at + mark.len()..)?.first_chunk::<24>());
        if let Some(nonce) = nonce {
            let mut state = self.state.lock().unwrap();
            let said = state.said;
            let rest = &mut state.bytes[said..];
            if let Some(at) = rest.windows(24).position(|w| w == NONCE) {
                rest[at..at + 24].copy_from_slice(nonce);
            }
        }
        Ok(())
    }

    fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn shutdown(&self, _: Shutdown) {}
}

static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let vars = [("DB_HOST", "server"), ("DB_PASSWORD", "secret")];
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    Config::from_vars(vars).unwrap().0.source
});

/// The first byte is the size of the pieces.
pub fn run(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else {
        return;
    };
    LazyLock::force(&ENDPOINT);
    // The least that a buffer grows by is 1 MiB; a row of empty values takes six times its bytes.
    meter::within(bytes.len(), 64, 4 << 20, || {
        let server = Server {
            state: Mutex::new(State {
                bytes: bytes.to_vec(),
                said: 0,
            }),
            piece: match piece {
                0 => usize::MAX,
                size => usize::from(*size),
            },
        };
        if let Err(error) = talk(Arc::new(server)) {
            is_fit_to_print(&error, bytes.len());
            // The server itself may say the word.
            let said = bytes.windows(6).any(|window| window == b"secret");
            assert!(said || !error.to_string().contains("secret"));
        }
    });
}

fn talk(server: Arc<Server>) -> zemi::error::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(3600);
    let parameters = [("application_name", "zemi")];
    let mut session = connect_over(server, &ENDPOINT, &parameters, deadline)?;
    if let Err(error) = session.query("SELECT 1") {
        is_fit_to_print(&error, 1 << 16);
    }
    session.copy_in("COPY t FROM STDIN", b"1\n")?;
    loop {
        let (_, body) = session.receive()?;
        assert!(body.len() < 1 << 30);
    }
}
