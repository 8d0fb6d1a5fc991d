//! Pushes an image to a registry: `cargo run --example push -- oci:DIRECTORY 127.0.0.1:5000/team/web:1.0`.

use std::error::Error;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use lapstrake::operate::{self, Place};
use lapstrake::output::TagOutcome;
use lapstrake::registry::{DockerCredentials, Settings};
use lapstrake::{Cancel, Platform, Reference, Registry, Silent, output};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else { return Err("two arguments: an image and a reference".into()) };
    run(from, to, &mut std::io::stdout().lock())
}

/// Pushes the image at the place `from` to the reference `to`.
pub(crate) fn run(from: &str, to: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let (from, to): (Place, Reference) = (from.parse()?, to.parse()?);
    // The library looks for no files of its own accord: whoever calls it says where credentials are.
    let credentials = DockerCredentials::new(vec![PathBuf::from("/run/secrets/registry.json")]);
    let registry = Registry::new(Settings::default(), Arc::new(credentials))?;
    let cancel = Cancel::new();

    let image = operate::open(&from, &Platform::builder(), &registry, &cancel)?;
    let transfers = NonZeroUsize::MIN.saturating_add(3);
    // Blobs that the registry has are not sent, and the manifest goes last.
    let pushed = output::push(&image.image, &[to], transfers, &image, &registry, &Silent, &cancel)?;
    for tag in pushed {
        let outcome = match tag.outcome {
            TagOutcome::Unchanged => "there already",
            TagOutcome::Moved => "pushed",
        };
        writeln!(out, "{} {} {outcome}", tag.reference, tag.digest)?;
    }
    Ok(())
}
