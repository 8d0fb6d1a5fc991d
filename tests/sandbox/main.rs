//! Real steps in real namespaces: everything that a sandbox promises, as root and as an ordinary user.
//!
//! The tests run as whoever starts them. Started by root, `an_ordinary_user_is_promised_the_same` starts them all again as a user with a
//! range of ids. They need `/bin/busybox` (Debian: busybox-static), and as root `useradd`, `setpriv` and the package uidmap.

#![expect(clippy::unwrap_used, reason = "what a test prepares must work")]
#![expect(clippy::disallowed_methods, reason = "the tests start themselves again, as another user and to be killed")]

mod agent;
mod beyond;
mod calls;
mod chroot;
mod elsewhere;
mod lab;
mod limits;
mod mounts;
mod root;
mod seen;
mod start;
mod users;

#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/programs.rs"]
mod programs;
#[path = "../support/waiting.rs"]
mod waiting;
