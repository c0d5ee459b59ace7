//! The `zemi` program: arguments, logger, exit code; nothing else.

fn main() {}
