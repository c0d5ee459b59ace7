//! The destination's side: its tables, the progress, and the batches that move both.

mod account;
mod careful;
mod destination;
mod early;
mod flight;
mod gap;
mod link;
mod progress;
mod safe;
mod schema;
mod session;
mod thread;
mod work;

pub use destination::Destination;
pub use early::Early;
pub use gap::GapMarker;
pub use progress::{Progress, forget_progress, read_progress};
pub use schema::rehearse;
pub use session::{SourceMark, check_session};
pub use thread::{Ready, Writer};
pub use work::Work;
