//! What zemi tells about itself: the logger.

pub mod logger;
pub mod metrics;
