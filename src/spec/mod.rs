//! TOML text → [`Spec`], with everything that is wrong in it; and back.
//!
//! Pure: no I/O, no clock, no environment. A spec is what was written: strings still hold references to arguments, stages and images are
//! known by name, nothing has been looked up. Source of truth: `specs/README.md`.

mod check;
mod diagnostics;
mod field;
mod grammar;
mod image;
mod mount_reader;
mod name;
mod parse;
mod raw_string;
mod read;
mod reader;
mod schema;
mod sink;
mod source;
mod source_text;
mod spanned;
mod stage;
mod step;
mod step_reader;
mod stock;
mod symbolic_mode;
mod tables;
mod template;
mod template_text;
mod toml_version;
mod value;
mod walk;
pub mod words;
mod write_toml;

use std::collections::BTreeMap;

pub use check::check;
pub use diagnostics::CODES;
pub use image::{Change, Compression, Format, Healthcheck, HealthcheckTest, INHERITED, Image};
pub use name::{InvalidName, Name};
pub use parse::parse;
pub use schema::{field_tables, schema};
pub use source::{Base, FileSource, ImageSource};
pub use spanned::Spanned;
pub use stage::{Env, OnBuild, Settings, Stage, StagePlatform};
pub use step::{
    Access, Archive, CacheAccess, Command, Copy, Download, Extract, Fetch, FetchSource, Git, Link, LinkKind, MakeDirectory, Missing,
    ModeRule, Mount, Network, Newlines, Remove, Run, Setting, Sharing, Step, Verb, Write,
};
pub use stock::{STOCK, Stock};
pub use template::{Absent, Extent, Occurrences, Operator, Piece, PlatformOf, PlatformPart, Reference, Referent, Template, Text};
pub use write_toml::to_toml;
pub(crate) use write_toml::{Lines, argument_value, change_value, image_lines, key, stage_lines, step_lines};

/// The version of the language that this program reads: the value of `spec`.
pub const LANGUAGE_VERSION: u32 = 1;

/// The epoch of a spec that names none, 1980-01-02T00:00:00Z, in seconds since 1970.
pub const DEFAULT_EPOCH_SECONDS: i64 = 315_619_200;

/// A whole spec, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    /// The time of everything that is made, in seconds since 1970-01-01T00:00:00Z; from 0 to the end of the year 9999.
    /// `None` means [`DEFAULT_EPOCH_SECONDS`].
    pub epoch: Option<Spanned<i64>>,
    /// The directory of the default context, relative to the spec's; taken as it is. `None` means the spec's own.
    pub context: Option<Spanned<String>>,
    /// The ignore file of the default context, relative to the spec's directory; taken as it is. `None` means `.lapstrakeignore`, else
    /// `.dockerignore`, in the context.
    pub ignore: Option<Spanned<String>>,
    /// Further contexts. The span is that of the name.
    pub contexts: BTreeMap<Name, Spanned<Context>>,
    /// What a caller may set. The span is that of the name.
    pub args: BTreeMap<Name, Spanned<Argument>>,
    /// The stages. The span is that of the name.
    pub stages: BTreeMap<Name, Spanned<Stage>>,
    /// The images. The span is that of the name.
    pub images: BTreeMap<Name, Spanned<Image>>,
}

/// A build context beside the default one, unless the caller gives another of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Its directory, relative to the spec's; taken as it is.
    pub path: Spanned<String>,
    /// Its ignore file, relative to the spec's directory; taken as it is. `None` means as for the default context.
    pub ignore: Option<Spanned<String>>,
}

/// Something that a caller may set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its value when the caller says nothing, taken as it is; without one the caller must say something, unless it is optional.
    pub default: Option<Spanned<String>>,
    /// Whether it can be left without a value; `None` means that it cannot.
    pub optional: Option<Spanned<bool>>,
    /// The values it may have; empty means any.
    pub choices: Vec<Spanned<String>>,
    /// What it is for.
    pub help: Option<Spanned<String>>,
}

#[cfg(test)]
mod tests;
