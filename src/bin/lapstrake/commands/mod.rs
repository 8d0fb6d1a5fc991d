//! One file per verb: arguments in, data on standard output.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod copy;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod ls;
pub(crate) mod plan;
pub(crate) mod rebase;
pub(crate) mod run;
pub(crate) mod tree;
pub(crate) mod why;
