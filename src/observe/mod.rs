//! What zemi tells about itself: logger, metrics, health, status page.

pub mod health;
mod histogram;
mod history;
pub mod http;
pub mod logger;
pub mod metrics;
pub mod pages;
mod prometheus;
mod side;
mod status;
mod tables;
pub mod text;

pub use history::STEP;
