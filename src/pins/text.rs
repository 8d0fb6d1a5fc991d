//! Pins → the canonical text of a lock file.

use std::fmt::Write as _;

use super::{Layers, Pins, VERSION};

const HEADER: &str = "\
# What the outside inputs of this build turned out to be. Written by `lapstrake lock`, refreshed by `lapstrake lock --upgrade`.
# Commit this file: with it the same spec gives the same image tomorrow.
";

pub(super) fn write(pins: &Pins) -> String {
    let Pins { layers, images, urls, commits } = pins;
    let mut text = format!("{HEADER}version = {VERSION}\n");
    if let Some(Layers { format, gzip, zstd }) = layers {
        // Writing to a string does not fail.
        let _ = write!(text, "\n[layers]\nformat = {format}\ngzip = \"gzip/{gzip}\"\nzstd = \"zstd/{zstd}\"\n");
    }
    for ((reference, platform), pin) in images {
        text.push_str("\n[[image]]\n");
        pair(&mut text, "reference", &reference.to_string());
        pair(&mut text, "platform", &platform.to_string());
        pair(&mut text, "manifest", &pin.manifest.to_string());
        if let Some(index) = pin.index {
            pair(&mut text, "index", &index.to_string());
        }
    }
    for (url, digest) in urls {
        text.push_str("\n[[url]]\n");
        pair(&mut text, "url", url);
        pair(&mut text, "sha256", &digest.hex());
    }
    for ((url, reference), commit) in commits {
        text.push_str("\n[[git]]\n");
        pair(&mut text, "url", url);
        pair(&mut text, "reference", reference);
        pair(&mut text, "commit", commit.as_str());
    }
    text
}

fn pair(text: &mut String, key: &str, value: &str) {
    let _ = write!(text, "{key} = \"");
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            control if control.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(control));
            }
            plain => text.push(plain),
        }
    }
    text.push_str("\"\n");
}
