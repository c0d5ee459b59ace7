//! `zemi health`: asks the zemi of this host for `/healthz`. It is the health check of container images that
//! hold no other program.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::output::print;
use crate::config::Config;
use crate::error::{Error, Exit, Kind, Result};

/// The time limit for connecting, and for each read and write.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The part of an answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Prints the answer of `/healthz`. The exit code is 0 for status 200, else 69.
///
/// # Errors
/// [`Kind::Setting`] without `HEALTH_PORT`, [`Kind::Transient`] without an answer.
pub fn run(config: &Config) -> Result<Exit> {
    let Some(port) = config.health_port else {
        return Err(Error::new(
            Kind::Setting,
            "expected HEALTH_PORT to be set as it is for the zemi that is asked",
        ));
    };
    let address = SocketAddr::new(reachable(config.http_bind), port);
    let cannot = |e: std::io::Error| {
        Error::new(
            Kind::Transient,
            format!("zemi does not answer at {address}"),
        )
        .caused_by(e)
    };
    let answer = ask(address).map_err(cannot)?;
    let content = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, content)| content);
    print(content);
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Unavailable),
    }
}

/// The address to connect to: the loopback address for an unspecified one.
fn reachable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIME_LIMIT)?;
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_at_the_loopback_one() {
        assert_eq!(reachable(Ipv4Addr::UNSPECIFIED.into()), Ipv4Addr::LOCALHOST);
        assert_eq!(reachable(Ipv6Addr::UNSPECIFIED.into()), Ipv6Addr::LOCALHOST);
        let own: IpAddr = Ipv4Addr::new(10, 0, 0, 7).into();
        assert_eq!(reachable(own), own);
    }
}
