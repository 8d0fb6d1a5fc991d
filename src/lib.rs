//! Builds OCI images from a declarative TOML spec, without a daemon and without root.
//!
//! A build is a line of calls, each of which takes what the one before it gave:
//!
//! | call | takes | gives |
//! |---|---|---|
//! | [`spec::parse`] | text | a [`Spec`], and every mistake in the text |
//! | [`plan::requirements`] | the spec, what is wanted of it | what must be known of the outside: bases, downloads |
//! | [`Outside::resolve`] | those, the lock's [`Pins`] | what they are today, by digest |
//! | [`plan::plan`] | spec and digests | a [`Plan`]: steps in order, pruned to what is wanted |
//! | [`Engine::build`] | the plan | a [`Sealed`] image for each that is wanted |
//! | [`output::push`], [`output::write_image`] | the image | tags in registries; layouts and archives |
//!
//! [`operate`] works on finished images, wherever they are: it inspects, compares and copies them.
//!
//! The library is synchronous and may be called from any thread, also from inside an async program. It prints nothing, reads no
//! environment variables and knows no home directory: what it may touch is what it is handed in [`Outside`]. What it does is told to an
//! [`EventSink`], and [`Cancel`] stops it.
//!
//! ```
//! use std::{collections::BTreeMap, path::Path, sync::Arc};
//! use lapstrake::{Cancel, Engine, Outside, Pins, Platform, Registry, Silent, Store, build, diagnostic, input, plan, registry, spec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = r#"
//!     spec = 1
//!     stages.site = { from = "scratch", steps = [{ write = "/index.html", content = "Ahoy" }] }
//!     images.site = { stage = "site" }
//! "#;
//! let mut sources = diagnostic::SourceMap::new();
//! let spec = spec::parse(sources.add("lapstrake.toml", text), text).or_rendered(&sources)?;
//!
//! let directory = tempfile::tempdir()?;
//! let store = Store::open(&directory.path().join("store"))?;
//! let registry = Registry::new(registry::Settings::default(), Arc::new(registry::Anonymous))?;
//! let outside = Outside {
//!     store: &store,
//!     registry: &registry,
//!     git: &input::GitSettings::default(),
//!     network: input::NetworkUse::Allowed,
//!     directory: Path::new("."),
//!     contexts: &BTreeMap::new(),
//!     events: &Silent,
//!     cancel: &Cancel::new(),
//! };
//! let target = plan::Target::everything(Platform::builder());
//! let needed = plan::requirements(&spec, &target).or_rendered(&sources)?;
//! let found = outside.resolve(&needed, &Pins::new(), &input::NothingStale)?.found;
//! let plan = plan::plan(&spec, &target, &found).or_rendered(&sources)?;
//! let built = Engine::new(build::IsolationChoice::None).build(&plan, &outside, &build::Options::default())?;
//! assert_eq!(built.images[0].sealed.layers.len(), 1);
//! # Ok(())
//! # }
//! ```

pub mod advice;
pub mod build;
pub mod diagnostic;
pub mod event;
pub mod frontend;
pub mod image;
pub mod input;
pub mod layer;
pub mod operate;
pub mod output;
pub mod pins;
pub mod plan;
pub mod registry;
pub mod remote;
pub mod sandbox;
pub mod spec;
pub mod tree;

/// Digests and bytes on disk.
pub use lapstrake_cache as cache;

pub use build::Engine;
pub use cache::{Digest, Store};
pub use event::{Cancel, EventSink, Silent};
pub use image::{Platform, Reference, Sealed};
pub use input::Outside;
pub use pins::Pins;
pub use plan::Plan;
pub use registry::Registry;
pub use spec::Spec;
