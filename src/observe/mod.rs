//! What zemi tells about itself: logger, metrics, health, status page.

mod connection_status;
pub mod health;
mod histogram;
mod history;
pub mod http;
pub mod logger;
pub mod metrics;
mod prometheus;
pub mod routes;
mod status;
mod tables;
pub mod text;

pub use history::STEP;
