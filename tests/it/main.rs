//! Tests of the whole: the `zemi` program against real PostgreSQL servers.
//!
//! One binary for all of them, so that they are linked once and run side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bemi;
mod clients;
mod commands;
mod context;
mod crud;
mod damage;
mod ddl;
mod earlier;
mod encodings;
mod event_triggers;
mod exits;
mod failover;
mod faults;
mod gaps;
mod guard;
mod harness;
mod hostile;
mod identity;
mod kills;
mod large;
mod moving_in;
mod network;
mod outages;
mod poison;
mod privileges;
mod prometheus;
mod review;
mod same_database;
mod statements;
mod status_page;
mod straddle;
mod supervise;
mod support;
mod sync_standby;
mod tls;
mod torture;
mod values;
mod web;
