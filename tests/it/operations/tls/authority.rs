//! Certificates, made by the `openssl` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The kind of a key, as `openssl genpkey` is told.
pub const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
/// An elliptic curve.
pub const ECDSA: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// A curve that zemi does not know.
pub const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
/// A key for RSA-PSS alone, which zemi does not know.
pub const RSA_PSS: &[&str] = &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
/// A key whose signatures have no hash of their own.
pub const ED25519: &[&str] = &["-algorithm", "ED25519"];

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// PEM.
    pub cert: PathBuf,
    /// PEM, PKCS#8.
    pub key: PathBuf,
}

impl Pair {
    /// The path of the certificate as a setting.
    pub fn cert(&self) -> String {
        self.cert.display().to_string()
    }

    /// The path of the key as a setting.
    pub fn key(&self) -> String {
        self.key.display().to_string()
    }
}

/// A folder of certificates with one authority in it; removed when dropped.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    subject: String,
    /// The authority's own, self-signed.
    pub root: Pair,
}

impl Authority {
    /// Makes one with a key of this kind.
    pub fn new(kind: &[&str]) -> Authority {
        Authority::called(kind, None)
    }

    /// Makes another one of the same name, as after the loss of its key.
    pub fn named(kind: &[&str], other: &Authority) -> Authority {
        Authority::called(kind, Some(other.subject.clone()))
    }

    fn called(kind: &[&str], subject: Option<String>) -> Authority {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("zemi-ca-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let subject = subject.unwrap_or_else(|| format!("/O=Zemi/CN=test authority {n}"));
        let root = self_signed(&dir, "ca", kind, &subject, &[]);
        Authority { dir, subject, root }
    }

    /// A file in the folder.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.dir.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// A self-signed certificate, as `openssl req -x509` makes it: one that is a CA.
    pub fn self_signed(&self, name: &str, kind: &[&str], subject: &str, more: &[&str]) -> Pair {
        self_signed(&self.dir, name, kind, subject, more)
    }

    /// A certificate for a server that is called `localhost` and has the address 127.0.0.1.
    pub fn server(&self, name: &str, kind: &[&str]) -> Pair {
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        self.issue(name, kind, "/CN=server", Some(names), &["-days", "30"])
    }

    /// Issues a certificate. Without extensions it is one of version 1, as in PostgreSQL's documentation.
    pub fn issue(
        &self,
        name: &str,
        kind: &[&str],
        subject: &str,
        extensions: Option<&str>,
        more: &[&str],
    ) -> Pair {
        let pair = self.pair(name);
        let request = self.dir.join(format!("{name}.csr"));
        generate(&pair.key, kind);
        let (key, csr) = (text(&pair.key), text(&request));
        openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &csr]);
        let (cert, ca, ca_key) = (pair.cert(), self.root.cert(), self.root.key());
        let serial = (name.bytes().map(u32::from).sum::<u32>() + 1000).to_string();
        let mut args = vec!["x509", "-req", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key];
        args.extend(["-set_serial", &serial, "-out", &cert]);
        args.extend(more);
        let file = extensions.map(|lines| self.file(&format!("{name}.ext"), lines.as_bytes()));
        if let Some(file) = &file {
            args.extend(["-extfile", file]);
        }
        openssl(&args);
        pair
    }

    /// The same key in another form: the arguments of `openssl pkey` or another command behind `-in`.
    pub fn convert(&self, key: &Path, name: &str, command: &str, more: &[&str]) -> String {
        let (from, to) = (text(key), text(&self.dir.join(name)));
        openssl(&[&[command, "-in", &from, "-out", &to], more].concat());
        to
    }

    fn pair(&self, name: &str) -> Pair {
        pair(&self.dir, name)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn pair(dir: &Path, name: &str) -> Pair {
    Pair {
        cert: dir.join(format!("{name}.crt")),
        key: dir.join(format!("{name}.key")),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn generate(key: &Path, kind: &[&str]) {
    openssl(&[&["genpkey", "-out", &text(key)], kind].concat());
}

fn self_signed(dir: &Path, name: &str, kind: &[&str], subject: &str, more: &[&str]) -> Pair {
    let pair = pair(dir, name);
    generate(&pair.key, kind);
    let (key, cert) = (pair.key(), pair.cert());
    let args = [
        "req", "-x509", "-key", &key, "-out", &cert, "-subj", subject, "-days", "30",
    ];
    openssl(&[&args, more].concat());
    pair
}

fn openssl(args: &[&str]) {
    let run = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = run.expect("the openssl command is there (`make tools` says how to get it)");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {complaint}");
}
