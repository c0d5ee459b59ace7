//! What zemi tells about itself: logger, metrics, health, status page.

mod activity;
mod connection_status;
mod health;
mod histogram;
mod history;
pub mod http;
pub mod logger;
pub mod metrics;
mod prometheus;
pub mod routes;
mod status;
mod tables;

pub use history::STEP;
