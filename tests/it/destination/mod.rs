//! What is written at the destination: once, whatever is there already or refuses it.

mod bemi;
mod guard;
mod lockstep;
mod poison;
mod same_database;
mod sync_standby;
