//! The program as people run it, from a spec on disk to what is in the store, in a registry and on the screen.
//!
//! Wants Debian's packages as `tests/support/install.sh` names them, and root or a `sudo` that asks nothing.

#![expect(clippy::disallowed_methods, reason = "tests run the program and the tools to compare with, and wait for them")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in tests a panic is the report")]

mod lab;
mod project;
mod relay;
mod tidying;
mod web;

#[path = "../support/nobody.rs"]
mod nobody;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/programs.rs"]
mod programs;
#[path = "../support/registry/real.rs"]
#[expect(dead_code, reason = "logins are tested with the registry client")]
mod real;
#[path = "../support/waiting.rs"]
mod waiting;

mod bases;
mod beyond;
mod caching;
mod carried;
mod clones;
mod compose;
mod converting;
mod copying;
mod debug;
mod determinism;
mod early;
mod failing;
mod git;
mod golden;
mod habits;
#[path = "../hostile/mod.rs"]
mod hostile;
mod interoperation;
mod kill;
mod limits;
mod memory;
mod mistrust;
mod platforms;
mod rebasing;
mod remote;
mod running;
mod secrets;
mod single_id;
