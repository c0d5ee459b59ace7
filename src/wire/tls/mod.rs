//! Encrypted connections: the request for TLS, the handshake, the verification of the server, the stream.

mod buffers;
pub(crate) mod certificate;
pub(super) mod encryption;
mod failure;
mod files;
pub(super) mod handshake;
mod settings;
mod stream;
mod verify;
