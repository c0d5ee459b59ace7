//! Servers, networks, processes, SQL, waiting, and the comparison of `changes` with the tables.

pub mod bemi;
pub mod cluster;
mod harness;
pub mod http;
pub mod load;
pub mod namespace;
pub mod network_faults;
pub mod process;
pub mod proxy;
pub mod replay;
pub mod scene;
pub mod secrets;
pub mod sql;
pub mod wait;

pub use cluster::Server;
pub use namespace::Namespace;
pub use process::Zemi;
pub use scene::Scene;
pub use sql::Sql;
pub use wait::wait_until;
