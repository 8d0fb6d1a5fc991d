//! A text in one of the languages → a spec.

use lapstrake::diagnostic::{Diagnosed, SourceId};
use lapstrake::spec::{self, Spec};

use crate::args;
use crate::exit::Failure;
use crate::source::{Kind, Source};

/// Reads the text with the front end of its language.
pub(crate) fn parse(source: &Source, id: SourceId, _arguments: &args::Project) -> Result<Diagnosed<Spec>, Failure> {
    match source.kind {
        Kind::Toml => Ok(spec::parse(id, &source.text)),
        Kind::Dockerfile | Kind::Compose => {
            Err(Failure::usage(format!("{}: Dockerfiles and Compose files are not read yet; write a lapstrake.toml", source.name)))
        }
    }
}
