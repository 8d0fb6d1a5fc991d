//! `tests/suite/advice/<case>/lapstrake.toml`, `Dockerfile` or `compose.yaml`, with a `lapstrake.lock` or without → `expected.txt`: what is said
//! and advised, with its places. And what the pages and examples say of it.

use std::collections::BTreeSet;
use std::path::Path;

use lapstrake::advice::{self, Facts, Language, Wanted};
use lapstrake::diagnostic::{self, Diagnosed, Diagnostic, SourceMap, render_plain};
use lapstrake::frontend::{compose, dockerfile};
use lapstrake::pins::Pins;
use lapstrake::spec;

use crate::compose::Folder;
use crate::{all_agree, cases, compare};

/// What is known beside a spec; `lock` is the text of its lock.
fn facts(language: Language, lock: &str) -> Facts {
    let mut map = SourceMap::new();
    let pins = Pins::parse(map.add("lapstrake.lock", lock), lock).value.unwrap_or_else(|| panic!("no lock: {lock}"));
    let commits = pins.commits().map(|(url, reference, _)| (url.to_owned(), reference.to_owned())).collect();
    let pinned = pins.images().map(|(reference, _, _)| reference.clone()).collect();
    Facts { language, pinned, commits, wanted: Wanted::Everything }
}

/// The advice on a text, and how it is printed. Mistakes count as advice, so that no case has any unseen.
fn advise(name: &str, text: &str) -> (Vec<Diagnostic>, String) {
    advise_in(Path::new("/nonexistent"), name, text, &Pins::new().to_text())
}

/// As [`advise`], of a file in a directory, with a lock.
fn advise_in(directory: &Path, name: &str, text: &str, lock: &str) -> (Vec<Diagnostic>, String) {
    let mut files = Folder::new(directory.to_path_buf());
    let source = files.map.add(name, text);
    let (parsed, language) = if name.ends_with("compose.yaml") {
        let Diagnosed { value, diagnostics } = compose::parse(source, text, &compose::Options::default(), &mut files);
        (Diagnosed { value: value.map(|compose| compose.spec), diagnostics }, Language::Dockerfile)
    } else if name.ends_with("Dockerfile") {
        (dockerfile::parse(source, text, &dockerfile::Options::default()), Language::Dockerfile)
    } else {
        (spec::parse(source, text), Language::Toml)
    };
    let mut found = parsed.diagnostics;
    if let Some(spec) = &parsed.value {
        found.extend(advice::of(spec, &files.map, &facts(language, lock)));
    }
    found.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span));
    let rendered = render_plain(&files.map, &found);
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
        let names = ["compose.yaml", "Dockerfile", "lapstrake.toml"];
        let name = names.into_iter().find(|name| case.join(name).exists()).unwrap_or_else(|| panic!("{}", case.display()));
        let lock = std::fs::read_to_string(case.join("lapstrake.lock")).unwrap_or_else(|_| Pins::new().to_text());
        let (_, rendered) = advise_in(case, name, &read(&case.join(name)), &lock);
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
