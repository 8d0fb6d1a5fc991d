//! interim
use crate::{args, exit::Failure, machine::Machine};
pub(crate) fn inspect(_: &Machine, _: &args::Inspect) -> Result<(), Failure> {
    Err(Failure::usage("not yet"))
}
