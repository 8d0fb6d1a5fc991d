//! What must hold of lock files.

use proptest::prelude::*;

use super::*;
use crate::diagnostic::SourceMap;

fn parsed(text: &str) -> (Diagnosed<Pins>, SourceMap) {
    let mut sources = SourceMap::new();
    let id = sources.add("lapstrake.lock", text);
    (Pins::parse(id, text), sources)
}

fn codes(text: &str) -> Vec<(&'static str, usize)> {
    let (result, sources) = parsed(text);
    assert_eq!(result.value.is_none(), !result.diagnostics.is_empty());
    result
        .diagnostics
        .iter()
        .map(|diagnostic| {
            let span = diagnostic.labels[0].span;
            (diagnostic.code.0, sources.position(span.source, span.start).unwrap().0)
        })
        .collect()
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

#[test]
fn the_text_is_sorted_and_reads_back() {
    let mut pins = Pins::new();
    pins.layers = Some(Layers { format: 1, gzip: 1, zstd: 2 });
    let amd64: Platform = "linux/amd64".parse().unwrap();
    for (name, index) in [("z/last:1", None), ("python:3.11", Some(digest(9)))] {
        pins.insert_image(name.parse().unwrap(), amd64.clone(), ImagePin { manifest: digest(1), index });
    }
    pins.insert_url("https://example.com/\"a\\\n".to_owned(), digest(2));
    let text = pins.to_text();
    assert!(text.find("library/python").unwrap() < text.find("z/last").unwrap());
    let (result, _) = parsed(&text);
    assert_eq!(result, Diagnosed { value: Some(pins), diagnostics: Vec::new() });
}

#[test]
fn every_mistake_is_reported_at_its_line() {
    let text = r#"version = 1
imagse = 1

[layers]
format = 0
gzip = "gzip/01"

[[image]]
reference = "Python"
platform = "linux"
manifest = 7

[[url]]
url = ""
sha256 = "sha256:00"
"#;
    assert_eq!(
        codes(text),
        [
            ("lock-unknown-key", 2),
            ("lock-invalid", 4),
            ("lock-invalid", 5),
            ("lock-invalid", 6),
            ("lock-invalid", 9),
            ("lock-invalid", 10),
            ("lock-invalid", 11),
            ("lock-invalid", 14),
            ("lock-invalid", 15),
        ]
    );
}

#[test]
fn a_newer_version_is_refused_with_one_message() {
    assert_eq!(codes("future = true\nversion = 2\n"), [("lock-version", 2)]);
    assert_eq!(codes("version = \"1\"\n"), [("lock-version", 1)]);
    assert_eq!(codes(""), [("lock-version", 1)]);
}

#[test]
fn conflict_marks_of_a_merge_are_a_syntax_error() {
    assert!(codes("<<<<<<< ours\nversion = 1\n").iter().all(|(code, _)| *code == "lock-syntax"));
}

#[test]
fn an_input_pinned_twice_is_refused() {
    let entry = format!("[[url]]\nurl = \"https://example.com/a\"\nsha256 = \"{}\"\n", digest(1).hex());
    assert_eq!(codes(&format!("version = 1\n{entry}{entry}")), [("lock-duplicate", 5)]);
    // Two spellings of one reference are one input.
    let image = |name: &str| format!("[[image]]\nreference = \"{name}\"\nplatform = \"linux/amd64\"\nmanifest = \"{}\"\n", digest(1));
    assert_eq!(codes(&format!("version = 1\n{}{}", image("python"), image("docker.io/library/python:latest"))), [("lock-duplicate", 6)]);
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn any_pins() -> impl Strategy<Value = Pins> {
    let layers = proptest::option::of((1..u32::MAX, 1..9u32, 1..9u32).prop_map(|(format, gzip, zstd)| Layers { format, gzip, zstd }));
    let reference = "([a-z0-9]{1,8}(:[0-9]{2})?/)?[a-z0-9]{1,8}(/[a-z0-9]{1,8})?(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8})?(@sha256:[0-9a-f]{64})?";
    let platform = "linux/(amd64|arm64|arm/v6|386)";
    let images = proptest::collection::vec((reference, platform, any_digest(), proptest::option::of(any_digest())), 0..5);
    let urls = proptest::collection::btree_map("\\PC{1,20}|[\u{0}-\u{20}\"\\\\\u{7f}-\u{9f}]{1,5}", any_digest(), 0..4);
    let commits = proptest::collection::vec(("\\PC{1,9}", "\\PC{1,9}", "[0-9a-f]{40}"), 0..3);
    (layers, images, urls, commits).prop_map(|(layers, images, urls, commits)| {
        let mut pins = Pins { layers, urls, ..Pins::default() };
        for (reference, platform, manifest, index) in images {
            pins.insert_image(reference.parse().unwrap(), platform.parse().unwrap(), ImagePin { manifest, index });
        }
        for (url, reference, commit) in commits {
            pins.insert_commit(url, reference, Commit::new(&commit).unwrap());
        }
        pins
    })
}

proptest! {
    #[test]
    fn pins_survive_their_text(pins in any_pins()) {
        let text = pins.to_text();
        let (result, _) = parsed(&text);
        prop_assert_eq!(&result.diagnostics, &Vec::new());
        prop_assert_eq!(result.value.as_ref(), Some(&pins));
        prop_assert_eq!(result.value.unwrap().to_text(), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(version = 1\n)?(\\[\\[image\\]\\]\n|reference|platform|url|=|\"|[a-z]{1,3}|\n|\\PC){0,40}") {
        let (result, _) = parsed(&text);
        prop_assert_eq!(result.value.is_none(), !result.diagnostics.is_empty());
    }
}
