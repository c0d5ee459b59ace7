//! An HTTP server for a few small pages: health, metrics, status.
//!
//! It is our own, for `tiny_http` 0.12 (its issues 56 and 143) accepts connections without limit, keeps a
//! thread waiting for each without a time limit, and lets a head grow as long as the client sends: a thousand
//! idle connections cost a thousand stacks, one endless header all memory. This server has at most
//! [`server::MAX_CONNECTIONS`] connections: a new one takes the place of the oldest that has sent no request
//! yet, so that a client that sends one is answered however many idle connections there are. A head is at
//! most [`request::MAX_HEAD`] bytes long, and request and response each have a time limit for the whole,
//! however slowly the bytes arrive.

pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
