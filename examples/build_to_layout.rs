//! Builds an image from a spec in memory and writes it as an OCI layout: `cargo run --example build_to_layout -- LAYOUT STORE`.
//!
//! The spec starts from nothing and runs no command, so that neither network nor namespaces are needed.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use lapstrake::build::{self, IsolationChoice};
use lapstrake::diagnostic::SourceMap;
use lapstrake::input::{GitSettings, NetworkUse, NothingStale};
use lapstrake::registry::{Anonymous, Settings};
use lapstrake::{Cancel, Engine, Outside, Pins, Platform, Registry, Silent, Store, output, plan, spec};

const SPEC: &str = r#"
spec = 1

[stages.site]
from = "scratch"

[[stages.site.steps]]
write = "/srv/index.html"
content = "<h1>Ahoy</h1>"

[images.site]
stage = "site"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(layout), Some(store)) = (arguments.next(), arguments.next()) else {
        return Err("two arguments: where the layout goes, and a directory to keep results in".into());
    };
    run(Path::new(&layout), Path::new(&store), &mut std::io::stdout().lock())
}

/// Builds the image and writes it to `layout`.
pub(crate) fn run(layout: &Path, store: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // What the library may touch is what it is handed.
    let store = Store::open(store)?;
    let registry = Registry::new(Settings::default(), Arc::new(Anonymous))?;
    let outside = Outside {
        store: &store,
        registry: &registry,
        git: &GitSettings::default(),
        network: NetworkUse::Refused,
        directory: Path::new("."),
        contexts: &BTreeMap::new(),
        events: &Silent,
        cancel: &Cancel::new(),
    };

    // Text → spec → what it needs from outside → plan. Each step on the way gives its messages back with its value.
    let mut sources = SourceMap::new();
    let spec = spec::parse(sources.add("lapstrake.toml", SPEC), SPEC).or_rendered(&sources)?;
    let target = plan::Target::everything(Platform::builder());
    let needed = plan::requirements(&spec, &target).or_rendered(&sources)?;
    let found = outside.resolve(&needed, &Pins::new(), &NothingStale)?.found;
    let plan = plan::plan(&spec, &target, &found).or_rendered(&sources)?;

    // Plan → images → layout. The same call again finds everything in the store.
    let built = Engine::new(IsolationChoice::None).build(&plan, &outside, &build::Options::default())?;
    for image in &built.images {
        let place = output::Target::Layout { path: layout.to_path_buf(), tag: Some(image.image.name.clone()) };
        output::write_image(&image.sealed, &place, &outside)?;
        writeln!(out, "{place} {}", image.sealed.manifest.digest)?;
    }
    Ok(())
}
