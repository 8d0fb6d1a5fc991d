//! The command line of lapstrake.
fn main() {}
