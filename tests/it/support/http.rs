//! Questions to the pages of zemi, and to other web servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::Zemi;
use super::scene::PATIENCE;

/// A port that is free now.
pub fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    probe.local_addr().unwrap().port()
}

/// The status code and the content.
pub fn get(port: u16, path: &str) -> (u16, String) {
    try_get(port, path).unwrap_or_else(|| panic!("no answer to {path}"))
}

/// The same, or `None` where the connection ends without.
pub fn try_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // Of HTTP/1.0, so that no server answers in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, content) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, content.to_owned()))
}

/// The content as JSON.
pub fn json(port: u16, path: &str) -> serde_json::Value {
    serde_json::from_str(&get(port, path).1).unwrap()
}

/// The value of a series of `/metrics`.
pub fn metric(port: u16, series: &str) -> f64 {
    let (status, page) = get(port, "/metrics");
    assert_eq!(status, 200);
    let line = page
        .lines()
        .find_map(|l| l.strip_prefix(&format!("zemi_{series} ")));
    line.unwrap_or_else(|| panic!("no {series} in:\n{page}"))
        .parse()
        .unwrap()
}

/// The settings with these ports, on the loopback address.
pub fn with_ports(
    mut settings: Vec<(String, String)>,
    health: u16,
    metrics: u16,
) -> Vec<(String, String)> {
    for (name, value) in [
        ("HEALTH_PORT", health.to_string()),
        ("METRICS_PORT", metrics.to_string()),
        ("HTTP_BIND", "127.0.0.1".to_owned()),
    ] {
        settings.push((name.to_owned(), value));
    }
    settings
}

/// How much memory the process has, in kB.
pub fn resident_kilobytes(zemi: &Zemi) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", zemi.id())).unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
