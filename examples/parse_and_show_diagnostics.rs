//! Reads a spec and prints every mistake in it at once: `cargo run --example parse_and_show_diagnostics -- lapstrake.toml`.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use lapstrake::diagnostic::{SourceMap, render_plain};
use lapstrake::spec;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let file = std::env::args_os().nth(1).unwrap_or_else(|| "lapstrake.toml".into());
    let good = run(Path::new(&file), &mut std::io::stdout().lock())?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Whether the spec can be used.
pub(crate) fn run(file: &Path, out: &mut dyn Write) -> Result<bool, Box<dyn Error>> {
    // Messages point into texts; the map has the texts.
    let mut sources = SourceMap::new();
    let text = std::fs::read_to_string(file)?;
    let source = sources.add(file.display().to_string(), text.clone());

    let parsed = spec::parse(source, &text);
    write!(out, "{}", render_plain(&sources, &parsed.diagnostics))?;

    // Warnings alone do not take the spec away.
    let Ok((spec, _)) = parsed.into_result() else { return Ok(false) };
    for (name, stage) in &spec.stages {
        writeln!(out, "{}: {} steps", name, stage.steps.len())?;
    }
    Ok(true)
}
