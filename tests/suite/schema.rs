//! `specs/lapstrake.schema.json` and the field tables of `specs/README.md` are made from the tables that the reader uses; what the reader
//! takes the schema takes too, and what is wrong in shape it refuses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lapstrake::diagnostic::SourceMap;
use lapstrake::spec;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::{all_agree, cases, compare};

/// What a schema cannot see: it knows no other place than the one it looks at, and no grammar of references.
const BEYOND_THE_SCHEMA: &[&str] = &[
    "bad-healthcheck",
    "bad-image-reference",
    "bad-path",
    "bad-reference",
    "bare-stage-name",
    "default-not-a-choice",
    "duplicate-item",
    "duplicate-mount",
    "duplicate-tag",
    "key-does-not-fit",
    "newer-toml",
    "nul-character",
    "path-climbs-out",
    "reference-not-here",
    "stage-cycle",
    "toml-syntax",
    "unknown-argument",
    "unknown-stage",
    "unused-argument",
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(object(table)),
    }
}

fn object(table: &DeTable<'_>) -> Map<String, Value> {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
}

/// What the schema says against a text; `None` where the text is not TOML.
fn violations(validator: &jsonschema::Validator, text: &str) -> Option<Vec<String>> {
    let table = DeTable::parse(text).ok()?;
    let document = Value::Object(object(table.get_ref()));
    Some(validator.iter_errors(&document).map(|error| format!("{error} at {}", error.instance_path())).collect())
}

fn codes(text: &str) -> BTreeSet<&'static str> {
    let source = SourceMap::new().add("lapstrake.toml", text);
    spec::parse(source, text).diagnostics.into_iter().map(|diagnostic| diagnostic.code.0).collect()
}

/// `lapstrake.toml` of every folder below `examples`, and the stock specs.
fn real_specs() -> Vec<PathBuf> {
    let files = |folder: &str| std::fs::read_dir(root(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
    let stock = files("specs/stock").filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let examples = files("examples").map(|path| path.join("lapstrake.toml")).filter(|path| path.is_file());
    stock.chain(examples).collect()
}

#[test]
fn the_schema_is_fresh() {
    let mut text = serde_json::to_string_pretty(&spec::schema()).unwrap();
    text.push('\n');
    all_agree([compare(&root("specs/lapstrake.schema.json"), &text)]);
}

#[test]
fn the_field_tables_of_the_reference_are_fresh() {
    let file = root("specs/README.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- fields -->\n").expect("a first mark");
    let (_, after) = rest.split_once("<!-- end of fields -->\n").expect("a second mark");
    all_agree([compare(&file, &format!("{before}<!-- fields -->\n\n{}<!-- end of fields -->\n{after}", spec::field_tables()))]);
}

#[test]
fn the_schema_refuses_exactly_what_is_wrong_in_shape() {
    let validator = jsonschema::draft7::new(&spec::schema()).unwrap();
    for case in cases("spec") {
        let text = std::fs::read_to_string(case.join("lapstrake.toml")).unwrap();
        let Some(violations) = violations(&validator, &text) else { continue };
        let visible: Vec<&str> = codes(&text).into_iter().filter(|code| !BEYOND_THE_SCHEMA.contains(code)).collect();
        assert_eq!(violations.is_empty(), visible.is_empty(), "{}: {visible:?}\n{violations:#?}", case.display());
    }
}

#[test]
fn stock_specs_and_examples_have_no_mistake() {
    let validator = jsonschema::draft7::new(&spec::schema()).unwrap();
    let specs = real_specs();
    assert!(specs.len() >= 4, "{specs:?}");
    for path in specs {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(codes(&text), BTreeSet::new(), "{}", path.display());
        assert_eq!(violations(&validator, &text), Some(Vec::new()), "{}", path.display());
    }
}

#[test]
fn the_schema_is_a_schema() {
    assert!(jsonschema::draft7::meta::is_valid(&spec::schema()));
}
