//! Tables that were published later than they were written to: what the server's counters tell about the
//! changes that the stream does not hold.

mod counters;
mod judge;

pub(crate) use counters::{
    Counters, Look, counters_by_name, idle_since, look, read_counters, reads_counters,
};
pub(crate) use judge::{Evidence, Judgement, Origin, judge};
