//! Compiles the helper that runs as process 1 of a step.
fn main() {}
