//! The tables of the language → a JSON Schema, and the tables of the reference.
//!
//! Draft 7, which the TOML plug-ins of editors know best. The schema knows shapes and words; what needs a view of the whole, such as whether
//! a stage exists, is left to [`parse`](super::parse).

use serde_json::{Map, Value, json};

use super::field::{Grammar, Kind, Need, Table};
use super::tables;

/// The schema of a spec.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for table in tables::ALL.iter().filter(|table| **table != &tables::SPEC) {
        definitions.insert(definition_name(table), of_table(table));
    }
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("lapstrake.toml"));
    if let Value::Object(spec) = of_table(&tables::SPEC) {
        root.extend(spec);
    }
    root.insert("definitions".to_owned(), Value::Object(definitions));
    Value::Object(root)
}

/// Steps and mounts share words, such as `from`.
fn definition_name(table: &Table) -> String {
    if tables::STEPS.contains(&table) {
        format!("step-{}", table.name)
    } else if tables::MOUNTS.contains(&table) {
        format!("mount-{}", table.name)
    } else {
        table.name.to_owned()
    }
}

fn reference(table: &Table) -> Value {
    json!({ "$ref": format!("#/definitions/{}", definition_name(table)) })
}

fn of_table(table: &'static Table) -> Value {
    let properties: Map<String, Value> = table
        .fields
        .iter()
        .map(|field| {
            let mut schema = of_kind(field.kind);
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".to_owned(), json!(field.doc));
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = table.fields.iter().filter(|field| field.need == Need::Required).map(|field| field.name).collect();
    json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

const REFERENCE: &str = r"\$\{(args|env|platform|target|builder)\.";
const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?([0-9]+ns)?$";

/// A pattern, or a string with references, of which nothing can be said.
fn template_or(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("({pattern})|({REFERENCE})") })
}

fn of_grammar(grammar: Grammar) -> Value {
    match grammar {
        Grammar::Free | Grammar::Content | Grammar::Outside => json!({ "type": "string" }),
        Grammar::Destination
        | Grammar::SourcePath
        | Grammar::Volume
        | Grammar::Pattern
        | Grammar::Base
        | Grammar::Tag
        | Grammar::Archive => {
            json!({ "type": "string", "minLength": 1 })
        }
        Grammar::Owner => template_or("^[^\\s:/]+(:[^\\s:/]+)?$"),
        Grammar::Port => template_or("^([1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?(/(tcp|udp|sctp))?|\\.\\.\\.)$"),
        Grammar::Signal => template_or("^(SIG[A-Z][A-Z0-9+-]*|[1-9][0-9]?)$"),
        Grammar::StagePlatform => template_or("^(target|builder|[a-z0-9_.-]+(/[a-z0-9_.-]+){1,2})$"),
        Grammar::Mode => template_or("^(=?[0-7]{3,4}|keep|[ugoa]*([-+=]([rwxXst]*|[ugo]))+(,[ugoa]*([-+=]([rwxXst]*|[ugo]))+)*)$"),
        Grammar::Url => json!({ "type": "string", "pattern": "^https?://" }),
        Grammar::Fetch => json!({ "type": "string", "pattern": "^(https?|git\\+https?|git\\+ssh|git\\+git|git\\+file)://" }),
        Grammar::Source => json!({ "type": "string", "pattern": "^(context$|context:|stage:|image:|oci:|tar:)" }),
    }
}

fn one_or(schema: &Value, other: &Value) -> Value {
    json!({ "anyOf": [schema, other] })
}

fn texts(grammar: Grammar) -> Value {
    json!({ "type": "array", "items": of_grammar(grammar) })
}

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_.-]*$";

fn of_kind(kind: Kind) -> Value {
    let name_keys = json!({ "pattern": NAME });
    match kind {
        Kind::Version => json!({ "type": "integer", "const": super::LANGUAGE_VERSION }),
        // Editors hand a TOML date-time over as a string.
        Kind::DateTime => json!({ "type": "string", "format": "date-time" }),
        Kind::Text(grammar) => of_grammar(grammar),
        Kind::Texts(grammar) => texts(grammar),
        Kind::TextOrTexts(grammar) => {
            let mut several = texts(grammar);
            if let Value::Object(several) = &mut several {
                several.insert("minItems".to_owned(), json!(1));
            }
            one_or(&of_grammar(grammar), &several)
        }
        Kind::TextOrFalse(grammar) => one_or(&of_grammar(grammar), &json!({ "const": false })),
        Kind::Plain => json!({ "type": "string" }),
        Kind::Plains => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
        Kind::PlainList => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Name(_) => json!({ "type": "string", "pattern": NAME }),
        Kind::Variable => json!({ "type": "string", "pattern": VARIABLE }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::True => json!({ "const": true }),
        Kind::Duration => json!({ "type": "string", "pattern": DURATION, "minLength": 2 }),
        Kind::Size => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$" }),
        Kind::Mode => json!({ "type": "string", "pattern": "^[0-7]{3,4}$" }),
        Kind::CopyMode => of_grammar(Grammar::Mode),
        Kind::Number(most) => json!({ "type": "integer", "minimum": 0, "maximum": most }),
        Kind::Sha256 => json!({ "type": "string", "pattern": "^(sha256:)?[0-9a-f]{64}$" }),
        Kind::Commit => json!({ "type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$" }),
        Kind::Platforms => json!({ "type": "array", "items": { "type": "string", "pattern": "^[a-z0-9_.-]+(/[a-z0-9_.-]+){1,2}$" } }),
        Kind::Env => json!({
            "type": "object",
            "propertyNames": { "pattern": VARIABLE },
            "additionalProperties": one_or(&json!({ "type": "string" }), &json!({ "const": false })),
        }),
        Kind::Labels => json!({
            "type": "object",
            "propertyNames": { "minLength": 1 },
            "additionalProperties": one_or(&json!({ "type": "string" }), &json!({ "const": false })),
        }),
        Kind::Annotations => {
            json!({ "type": "object", "propertyNames": { "minLength": 1 }, "additionalProperties": { "type": "string" } })
        }
        Kind::Arguments => json!({
            "type": "object",
            "propertyNames": name_keys,
            "additionalProperties": one_or(&json!({ "type": "string" }), &reference(&tables::ARGUMENT)),
        }),
        Kind::Contexts => json!({
            "type": "object",
            "propertyNames": name_keys,
            "additionalProperties": one_or(&json!({ "type": "string" }), &reference(&tables::CONTEXT)),
        }),
        Kind::Tables(table) => {
            let least = u32::from(table == &tables::STAGE);
            json!({ "type": "object", "propertyNames": name_keys, "additionalProperties": reference(table), "minProperties": least })
        }
        Kind::TableOrFalse(table) => one_or(&reference(table), &json!({ "const": false })),
        Kind::AnyOf(kinds) => {
            let kinds: Vec<Value> = kinds.iter().map(|table| reference(table)).collect();
            json!({ "type": "array", "items": { "anyOf": kinds } })
        }
    }
}

/// The field tables of the reference, in Markdown, one per table of the language; `specs/README.md` holds them between two marks.
#[must_use]
pub fn field_tables() -> String {
    let mut text = String::new();
    for table in tables::ALL {
        let heading = if tables::MOUNTS.contains(table) {
            format!("Mount `{}`", table.name)
        } else if tables::STEPS.contains(table) {
            format!("Step `{}`", table.name)
        } else {
            match table.name {
                "spec" => "The file".to_owned(),
                "argument" => "Argument: `args.NAME`".to_owned(),
                "context" => "Context: `contexts.NAME`".to_owned(),
                "stage" => "Stage: `stages.NAME`".to_owned(),
                "image" => "Image: `images.NAME`".to_owned(),
                _ => "Healthcheck: `images.NAME.healthcheck`".to_owned(),
            }
        };
        text.push_str(&format!("### {heading}\n\n{}\n\n| key | value | |\n|---|---|---|\n", table.doc));
        for field in table.fields {
            let need = match field.need {
                Need::Required => "**Required.** ",
                Need::Optional => "",
            };
            text.push_str(&format!("| `{}` | {} | {need}{} |\n", field.name, called(field.kind), field.doc));
        }
        text.push('\n');
    }
    text
}

/// What the reference calls a kind of value.
fn called(kind: Kind) -> String {
    match kind {
        Kind::Version => "`1`".to_owned(),
        Kind::DateTime => "date-time".to_owned(),
        Kind::Text(grammar) => grammar.called().to_owned(),
        Kind::Texts(grammar) => format!("array of {}", plural(grammar.called())),
        Kind::TextOrTexts(grammar) => format!("{} or array of {}", grammar.called(), plural(grammar.called())),
        Kind::TextOrFalse(grammar) => format!("{} or `false`", grammar.called()),
        Kind::Plain => "string, taken as it is".to_owned(),
        Kind::Plains | Kind::PlainList => "array of strings, taken as they are".to_owned(),
        Kind::Name(_) => "name".to_owned(),
        Kind::Variable => "name of a variable".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Kind::Flag => "boolean".to_owned(),
        Kind::True => "`true`".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Mode => "mode".to_owned(),
        Kind::CopyMode => "mode, `\"=\"` with a mode, symbolic mode or `\"keep\"`".to_owned(),
        Kind::Number(_) => "integer".to_owned(),
        Kind::Sha256 => "64 hexadecimal digits".to_owned(),
        Kind::Commit => "40 or 64 hexadecimal digits".to_owned(),
        Kind::Platforms => "array of platforms".to_owned(),
        Kind::Env => "table of variables: string or `false`".to_owned(),
        Kind::Labels => "table: string or `false`".to_owned(),
        Kind::Annotations => "table of strings".to_owned(),
        Kind::Arguments => "table of arguments: string or table".to_owned(),
        Kind::Contexts => "table of contexts: string or table".to_owned(),
        Kind::Tables(table) => format!("table of {}s", table.name),
        Kind::TableOrFalse(table) => format!("{} or `false`", table.name),
        Kind::AnyOf(kinds) if kinds == tables::STEPS => "array of steps".to_owned(),
        Kind::AnyOf(_) => "array of mounts".to_owned(),
    }
}

fn plural(word: &str) -> String {
    if word.ends_with('`') { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_steps_and_mounts_begins_with_its_verb_and_is_in_the_reference() {
        for table in tables::STEPS.iter().chain(tables::MOUNTS) {
            assert_eq!(table.fields[0].name, table.name);
            assert_eq!(table.fields[0].need, Need::Required);
            assert!(tables::ALL.contains(table), "{}", table.name);
        }
    }
}
