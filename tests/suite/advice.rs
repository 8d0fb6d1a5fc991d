//! `tests/suite/advice/<case>/lapstrake.toml` or `Dockerfile` → `expected.txt`: what is said and advised, with its places. And what the
//! pages and examples say of it.

use std::collections::BTreeSet;
use std::path::Path;

use lapstrake::advice::{self, Facts, Language, Wanted};
use lapstrake::diagnostic::{self, Diagnostic, SourceMap, render_plain};
use lapstrake::frontend::dockerfile;
use lapstrake::spec;

use crate::{all_agree, cases, compare};

fn facts(language: Language) -> Facts {
    Facts { language, pinned: BTreeSet::new(), wanted: Wanted::Everything }
}

/// The advice on a text, and how it is printed. Mistakes count as advice, so that no case has any unseen.
fn advise(name: &str, text: &str) -> (Vec<Diagnostic>, String) {
    let mut map = SourceMap::new();
    let source = map.add(name, text);
    let (parsed, language) = if name.ends_with("Dockerfile") {
        (dockerfile::parse(source, text, &dockerfile::Options::default()), Language::Dockerfile)
    } else {
        (spec::parse(source, text), Language::Toml)
    };
    let mut found = parsed.diagnostics;
    if let Some(spec) = &parsed.value {
        found.extend(advice::of(spec, &map, &facts(language)));
    }
    found.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
    let rendered = render_plain(&map, &found);
    (found, rendered)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The codes that are found, but for bases without a digest: examples are easier to read without.
fn codes(name: &str, text: &str, wanted: &str) -> BTreeSet<&'static str> {
    let found = advise(name, text).0;
    found.iter().map(|diagnostic| diagnostic.code.0).filter(|code| *code == wanted || *code != "unpinned-base").collect()
}

#[test]
fn each_case_says_what_is_expected() {
    all_agree(cases("advice").iter().map(|case| {
        let name = if case.join("Dockerfile").exists() { "Dockerfile" } else { "lapstrake.toml" };
        let (_, rendered) = advise(name, &read(&case.join(name)));
        compare(&case.join("expected.txt"), &rendered)
    }));
}

#[test]
fn the_first_example_of_a_page_has_that_mistake_alone_and_the_last_has_none() {
    for code in advice::CODES {
        let page = diagnostic::page(code).unwrap_or_else(|| panic!("{code} has no page"));
        let mut examples = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let (wrong, right) = (examples.next().unwrap(), examples.last().unwrap());
        assert_eq!(codes(code, wrong, code), BTreeSet::from([*code]), "{code}\n{}", advise(code, wrong).1);
        assert_eq!(codes(code, right, code), BTreeSet::new(), "{code}\n{}", advise(code, right).1);
    }
}

#[test]
fn the_examples_and_stock_specs_give_no_cause_for_advice_but_their_unpinned_base() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["examples", "specs/stock"] {
        let entries = std::fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().path());
        let specs: Vec<_> = entries
            .map(|path| if path.is_dir() { path.join("lapstrake.toml") } else { path })
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && path.is_file())
            .collect();
        assert!(specs.len() >= 3, "{directory}");
        for path in specs {
            let name = path.display().to_string();
            assert_eq!(codes(&name, &read(&path), ""), BTreeSet::new(), "{}", advise(&name, &read(&path)).1);
        }
    }
}
