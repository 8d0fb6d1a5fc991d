//! interim
use crate::{args, exit::Failure, machine::Machine};
pub(crate) fn push(_: &Machine, _: &args::Push) -> Result<(), Failure> {
    Err(Failure::usage("not yet"))
}
