//! The destination's side: its tables, the progress, and the batches that move both.

mod account;
mod ddl;
mod destination;
mod early;
mod fallback;
mod flight;
mod forms;
mod gap;
mod link;
mod package_trigger;
mod progress;
mod schema;
mod session;
mod tables;
mod thread;
mod work;

pub use ddl::{INDEXES, Method, create_index};
pub use destination::Destination;
pub use early::Early;
pub use gap::GapMarker;
pub use progress::{Progress, forget_progress, read_progress};
pub use schema::{Rehearsed, rehearse};
pub use session::{SourceMark, check_session};
pub use tables::{TableNames, locate};
pub use thread::{Ready, Writer};
pub use work::Work;
