//! What holds for every spec and for every text.

mod any_spec;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::{Diagnosed, SourceMap, render_plain};

fn read(text: &str) -> (SourceMap, Diagnosed<Spec>) {
    let mut map = SourceMap::new();
    let source = map.add("lapstrake.toml", text);
    (map, parse(source, text))
}

/// What holds for whatever is read.
fn assert_sound(text: &str) {
    let (map, parsed) = read(text);
    assert!(parsed.value.is_some() || parsed.has_errors(), "no spec and no error:\n{text}");
    let mut last = 0;
    for diagnostic in &parsed.diagnostics {
        assert!(CODES.contains(&diagnostic.code.0), "{}", diagnostic.code.0);
        for label in &diagnostic.labels {
            let (start, end) = (label.span.start as usize, label.span.end as usize);
            assert!(text.get(start..end).is_some(), "{diagnostic:?} is at no place of\n{text}");
        }
        let start = diagnostic.labels[0].span.start;
        assert!(start >= last, "not in order of place:\n{}", render_plain(&map, &parsed.diagnostics));
        last = start;
    }
}

/// Characters of the language, so that random texts come near to it.
const FRAGMENTS: &[&str] = &[
    "spec",
    "=",
    "1",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "\\",
    ".",
    ",",
    "stages",
    "images",
    "args",
    "steps",
    "run",
    "copy",
    "from",
    "to",
    "${",
    "args.",
    "env.",
    "$${",
    "mounts",
    "at",
    "cache",
    "true",
    "false",
    "#",
    " ",
    "é",
    "\u{0}",
    "1980-01-02T00:00:00Z",
    "\r\n",
    "-1",
    "0o755",
    "[[",
    "]]",
    "\\u0041",
    "x",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_spec_holds_has_a_toml_spelling(spec in any_spec::specs()) {
        let text = to_toml(&spec);
        let (map, parsed) = read(&text);
        prop_assert_eq!(parsed.value.as_ref(), Some(&spec), "{}\n{}", text, render_plain(&map, &parsed.diagnostics));
    }

    #[test]
    fn a_spec_with_something_changed_is_read_or_refused(
        spec in any_spec::specs(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, prop::sample::select(FRAGMENTS)), 1..5),
    ) {
        let mut text: Vec<char> = to_toml(&spec).chars().collect();
        for (place, length, fragment) in cuts {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, fragment.chars());
        }
        assert_sound(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        assert_sound(&text);
    }

    #[test]
    fn any_fragments_of_the_language_are_read_or_refused(fragments in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..40)) {
        assert_sound(&fragments.concat());
    }
}

#[test]
fn a_text_that_nests_deeply_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("spec = {}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(read(&text).1.has_errors());
    }
}

#[test]
fn the_default_epoch_is_the_second_of_january_1980() {
    let (_, parsed) = read("spec = 1\nepoch = 1980-01-02T00:00:00Z\n[stages.a]\nfrom = \"scratch\"\n");
    assert_eq!(parsed.value.unwrap().epoch.map(|epoch| epoch.value), Some(DEFAULT_EPOCH_SECONDS));
}

#[test]
fn the_place_of_a_step_is_its_verb_with_its_value() {
    let text = "spec = 1\n[stages.a]\nfrom = \"scratch\"\n[[stages.a.steps]]\nto = \"/x\"\ncopy = \"y\"\n";
    let (_, parsed) = read(text);
    let spec = parsed.value.unwrap();
    let span = spec.stages["a"].steps[0].span;
    assert_eq!(&text[span.start as usize..span.end as usize], "copy = \"y\"");
}
