//! What the tests stand on: servers, processes, waiting.

pub mod cluster;
pub mod process;
pub mod wait;

pub use cluster::Server;
pub use process::Zemi;
pub use wait::wait_until;
