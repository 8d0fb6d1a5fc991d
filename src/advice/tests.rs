//! What holds for any spec; which advice there is for which is told by the cases of `tests/suite/advice`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::Severity;

const WORDS: &[&str] = &[
    "apt-get",
    "update",
    "install",
    "-y",
    "gcc",
    "&&",
    ";",
    "\n",
    "rm",
    "-rf",
    "/var/lib/apt/lists/*",
    "/var/lib/apt/list",
    "pip",
    "python3",
    "-m",
    "apk",
    "add",
    "$(",
    ")",
    "'",
    "\"",
    "`",
    "\\",
    "sed",
    "-i",
    "s/\\r//",
    "/entrypoint",
    "chmod",
    "case",
    "in",
    "esac",
    "<<E",
    "E",
    "#",
    "${x}",
    "|",
    "é",
    "npm",
    "ci",
    "command",
    "-v",
    "sh",
    "-c",
    "sudo",
    "{",
    "}",
];

fn specs() -> impl Strategy<Value = String> {
    let script = proptest::collection::vec((0..WORDS.len(), any::<bool>()), 0..24).prop_map(|places| {
        let word = |(place, space): (usize, bool)| format!("{}{}", WORDS[place], if space { " " } else { "" });
        places.into_iter().map(word).collect::<String>()
    });
    (script, "[a-z$()/.*]{0,12}").prop_map(|(script, path)| {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            "spec = 1\n[stages.app]\nfrom = \"debian:12\"\nsteps = [\n{{ copy = {}, to = \"/a/\" }},\n{{ run = {} }},\n{{ run = [\"sh\", \"-c\", {}] }},\n]\n[images.app]\nstage = \"app\"\n",
            text(&format!("./{path}")),
            text(&script),
            text(&script),
        )
    })
}

proptest! {
    #[test]
    fn advice_has_a_code_a_place_in_the_text_and_is_never_an_error(text in specs()) {
        let mut sources = SourceMap::new();
        let source = sources.add("lapstrake.toml", text.clone());
        let Some(spec) = crate::spec::parse(source, &text).value else { return Ok(()) };
        let facts = Facts { language: Language::Toml, pinned: BTreeSet::new(), commits: BTreeSet::new(), wanted: Wanted::Everything };
        for diagnostic in of(&spec, &sources, &facts) {
            prop_assert_eq!(diagnostic.severity, Severity::Warning);
            prop_assert!(CODES.contains(&diagnostic.code.0));
            for label in &diagnostic.labels {
                prop_assert!(text.get(label.span.start as usize..label.span.end as usize).is_some_and(|word| !word.is_empty()), "{:?}", diagnostic);
            }
        }
    }

    #[test]
    fn a_directive_of_any_text_is_read(text in "(# ?check ?= ?(skip|error)=[A-Za-z,;=]{0,12}\n|#.{0,6}\n){0,3}") {
        let _ = directive(&text);
    }
}
