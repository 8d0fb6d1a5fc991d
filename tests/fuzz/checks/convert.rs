//! Any text: a Dockerfile, converted in both manners. Exactly, it is the same spec again; idiomatically, one without mistakes.

use lapstrake::diagnostic::{SourceMap, render_plain};
use lapstrake::frontend::convert::{Contexts, Manner, to_toml};
use lapstrake::frontend::dockerfile::{self, Options};
use lapstrake::spec::{self, Name};

/// Every file is there, and every other one has the usual modes.
struct Everything;

impl Contexts for Everything {
    fn read(&self, _context: Option<&Name>, _path: &str) -> Option<Vec<u8>> {
        Some(b"#!/bin/sh\r\n".to_vec())
    }

    fn is_normal(&self, _context: Option<&Name>, path: &str) -> bool {
        path.len().is_multiple_of(2)
    }
}

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut map = SourceMap::new();
    let source = map.add("Dockerfile", text);
    let Some(first) = dockerfile::parse(source, text, &Options::default()).value else { return };
    let exact = to_toml(&first, &map, Manner::Exact, &Everything);
    assert_eq!(spec::parse(source, &exact).value.as_ref(), Some(&first), "{exact}");
    let idiomatic = to_toml(&first, &map, Manner::Idiomatic, &Everything);
    let mut map = SourceMap::new();
    let again = spec::parse(map.add("lapstrake.toml", idiomatic.as_str()), &idiomatic);
    assert!(!again.has_errors(), "{idiomatic}\n{}", render_plain(&map, &again.diagnostics));
}
