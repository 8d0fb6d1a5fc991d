//! Any text is a spec or has an error, at a place of the text; what is a spec is the same from TOML.

use lapstrake::diagnostic::{SourceId, SourceMap, render_plain};
use lapstrake::frontend::dockerfile::{self, Options};
use lapstrake::spec;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut map = SourceMap::new();
    let source = map.add("Dockerfile", text);
    let parsed = dockerfile::parse(source, text, &Options::default());
    let rendered = render_plain(&map, &parsed.diagnostics);
    for label in parsed.diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        let inside = text.get(label.span.start as usize..label.span.end as usize).is_some();
        assert!(inside || label.span.source == SourceId::NONE, "{rendered}");
    }
    match parsed.value {
        Some(first) => {
            let written = spec::to_toml(&first);
            assert_eq!(spec::parse(source, &written).value, Some(first), "{written}");
        }
        None => assert!(!rendered.is_empty()),
    }
}
