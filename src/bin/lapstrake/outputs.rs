//! interim
use crate::exit::Failure;
use lapstrake::build::{Built, Engine, Options};
use lapstrake::cache::Digest;
use lapstrake::input::Outside;
use lapstrake::plan::{Plan, StageId};
use std::collections::BTreeSet;

pub(crate) struct Outputs;
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) digest: Option<Digest>,
}
impl Outputs {
    pub(crate) fn parse(texts: &[String], _plan: &Plan) -> Result<Outputs, Failure> {
        if texts.is_empty() { Ok(Outputs) } else { Err(Failure::usage("no outputs yet")) }
    }
    pub(crate) fn unpacked(&self, _plan: &Plan) -> BTreeSet<StageId> {
        BTreeSet::new()
    }
    pub(crate) fn write(&self, _: &Engine, _: &Plan, _: &Outside<'_>, _: &Options, _: &Built) -> Result<Vec<Written>, Failure> {
        Ok(Vec::new())
    }
}
