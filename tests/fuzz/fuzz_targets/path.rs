//! `checks/path.rs`, with whatever libfuzzer thinks of.
#![no_main]

#[path = "../checks/path.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
