//! What the source sends, and the changes that come of it.

mod clients;
mod context;
mod crud;
mod ddl;
mod encodings;
mod event_triggers;
mod forms;
mod identity;
mod large;
mod late_tables;
mod partitions;
mod short_lived;
mod statements;
mod straddle;
mod values;
