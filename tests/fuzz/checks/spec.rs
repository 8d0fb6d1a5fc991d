//! Any text is a spec or has an error, at a place of the text; what is a spec is the same after writing and reading.

use lapstrake::diagnostic::{SourceMap, render_plain};
use lapstrake::spec;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut map = SourceMap::new();
    let source = map.add("lapstrake.toml", text);
    let parsed = spec::parse(source, text);
    let rendered = render_plain(&map, &parsed.diagnostics);
    for label in parsed.diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        assert!(text.get(label.span.start as usize..label.span.end as usize).is_some(), "{rendered}");
    }
    match parsed.value {
        Some(first) => {
            let written = spec::to_toml(&first);
            assert_eq!(spec::parse(source, &written).value, Some(first), "{written}");
        }
        None => assert!(!rendered.is_empty()),
    }
}
