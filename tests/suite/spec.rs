//! `tests/suite/spec/<case>/lapstrake.toml` → `expected.txt`: every message with its place.

use std::collections::BTreeSet;
use std::path::Path;

use lapstrake::diagnostic::{self, Diagnosed, SourceMap, render_plain};
use lapstrake::spec::{self, Spec};

use crate::{all_agree, cases, compare};

fn check(text: &str) -> (Diagnosed<Spec>, String) {
    let mut map = SourceMap::new();
    let source = map.add("lapstrake.toml", text);
    let parsed = spec::parse(source, text);
    let rendered = render_plain(&map, &parsed.diagnostics);
    (parsed, rendered)
}

fn codes(parsed: &Diagnosed<Spec>) -> BTreeSet<&'static str> {
    parsed.diagnostics.iter().map(|diagnostic| diagnostic.code.0).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_case_says_what_is_expected() {
    all_agree(cases("spec").iter().map(|case| {
        let (parsed, rendered) = check(&read(&case.join("lapstrake.toml")));
        assert!(parsed.value.is_some() || parsed.has_errors(), "{}: no spec and no error", case.display());
        compare(&case.join("expected.txt"), &rendered)
    }));
}

#[test]
fn every_code_has_a_case_and_a_page() {
    let seen: BTreeSet<&str> = cases("spec").iter().flat_map(|case| codes(&check(&read(&case.join("lapstrake.toml"))).0)).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), spec::CODES);
    for code in spec::CODES {
        assert!(diagnostic::page(code).is_some(), "{code}");
    }
}

#[test]
fn the_first_example_of_a_page_has_that_mistake_alone_and_the_last_has_none() {
    for code in spec::CODES {
        let page = diagnostic::page(code).unwrap();
        let mut examples = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let (wrong, right) = (examples.next().unwrap(), examples.last().unwrap());
        let (parsed, rendered) = check(wrong);
        let found = codes(&parsed);
        assert_eq!(found, BTreeSet::from([*code]), "{code}\n{rendered}");
        assert_eq!(check(right).1, "", "{code}");
    }
}

#[test]
fn what_has_no_mistake_is_the_same_after_writing_and_reading() {
    for case in cases("spec") {
        if let Some(spec) = check(&read(&case.join("lapstrake.toml"))).0.value {
            let written = spec::to_toml(&spec);
            let (again, rendered) = check(&written);
            assert_eq!(again.value.as_ref(), Some(&spec), "{}\n{written}\n{rendered}", case.display());
        }
    }
}
