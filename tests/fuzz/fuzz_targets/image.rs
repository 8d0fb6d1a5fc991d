//! `checks/image.rs`, with whatever libfuzzer thinks of.
#![no_main]

#[path = "../checks/image.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
