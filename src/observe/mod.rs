//! Observability: logger, metrics, health, status page.

mod activity;
mod connection_status;
mod health;
mod histogram;
mod history;
pub(crate) mod http;
pub mod logger;
pub(crate) mod metrics;
mod prometheus;
pub(crate) mod routes;
mod status;
mod tables;

pub(crate) use history::SAMPLE_INTERVAL;
