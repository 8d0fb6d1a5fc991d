//! `tests/fuzz/corpus/<target>/*`: what fuzzing has found worth keeping, against `tests/fuzz/checks/<target>.rs`, as it was found.

#[path = "../fuzz/checks/compose.rs"]
mod compose;
#[path = "../fuzz/checks/convert.rs"]
mod convert;
#[path = "../fuzz/checks/dockerfile.rs"]
mod dockerfile;
#[path = "../fuzz/checks/image.rs"]
mod image;
#[path = "../fuzz/checks/layer.rs"]
mod layer;
#[path = "../fuzz/checks/path.rs"]
mod path;
#[path = "../fuzz/checks/record.rs"]
mod record;
#[path = "../fuzz/checks/reference.rs"]
mod reference;
#[path = "../fuzz/checks/spec.rs"]
mod spec;

use std::collections::BTreeSet;
use std::path::Path;

/// What any input must leave whole.
type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 9] = [
    ("compose", compose::check),
    ("convert", convert::check),
    ("dockerfile", dockerfile::check),
    ("image", image::check),
    ("layer", layer::check),
    ("path", path::check),
    ("record", record::check),
    ("reference", reference::check),
    ("spec", spec::check),
];

/// The names in a folder of `tests/fuzz`, sorted.
fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[test]
fn what_fuzzing_found_stays_harmless() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (target, check) in TARGETS {
        let inputs = names(&format!("corpus/{target}"));
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for input in inputs {
            let bytes = std::fs::read(root.join(target).join(&input)).unwrap();
            assert!(std::panic::catch_unwind(|| check(&bytes)).is_ok(), "{target}: {input}");
        }
    }
}

#[test]
fn every_fuzz_target_has_its_check_and_is_held_to_its_corpus() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(target, _)| format!("{target}.rs")).collect();
    assert_eq!(names("checks"), known);
    assert_eq!(names("fuzz_targets"), known);
}
