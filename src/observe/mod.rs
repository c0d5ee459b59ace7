//! What zemi tells about itself: the logger.

pub mod logger;
