//! Attacks, each made by its test with the real program, and nothing coming of them.
//!
//! What comes from somebody else (archives, bases, contexts, downloads, commands) is hostile here. A test fails when the attack has any
//! effect beyond what SECURITY.md concedes; that file names the tests, and `tests/house.rs` holds that it names them right.

mod outside;
mod rungs;

#[path = "../../src/layer/tests/raw.rs"]
#[expect(dead_code, reason = "the layer room's own tests use all of it")]
mod raw;

mod archives;
mod bases;
mod contexts;
mod screen;
mod sizes;
mod steps;
mod surroundings;
mod times;
