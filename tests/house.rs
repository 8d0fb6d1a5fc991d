//! The rules of the house: which room may import which, how long a file may be, and that generated and listed things are complete.
//!
//! The table of allowed imports is read from ARCHITECTURE.md, so that the map and the rule cannot differ.

#![expect(clippy::expect_used, reason = "a test may fail where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More lines of code than this fail.
const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(directory: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = walkdir::WalkDir::new(root().join(directory))
        .into_iter()
        .map(|entry| entry.expect("the source tree is readable").into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "target"))
        .map(|path| {
            let name = path.strip_prefix(root()).expect("below the root").to_str().expect("names are UTF-8").to_owned();
            (name, read(&path))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no source files in {directory}");
    files
}

/// Rooms and what each may import: the table below the heading "Allowed imports".
fn allowed_imports() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let section = text.split("## Allowed imports").nth(1).expect("ARCHITECTURE.md has a section \"Allowed imports\"");
    let section = section.split("\n## ").next().unwrap_or(section);
    let mut table = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let words: BTreeSet<String> = cells[1]
            .split(',')
            .map(|word| word.trim().trim_matches('`').to_owned())
            .filter(|word| !word.is_empty() && word != "—")
            .collect();
        let room = cells[0].trim_matches('`').to_owned();
        assert!(table.insert(room.clone(), words).is_none(), "{room} stands twice in the table");
    }
    assert!(table.len() > 10, "the table of allowed imports was not found");
    table
}

fn room_of(file: &str) -> Option<String> {
    let first = file.strip_prefix("src/")?.split('/').next()?;
    (first != "lib.rs" && first != "bin").then(|| first.trim_end_matches(".rs").to_owned())
}

/// Whether a file is part of a room's tests. They may take from any room that is not above theirs what they hold the room against.
fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("tests.rs")
}

/// The rooms that a room imports, by itself or through others.
fn below(table: &BTreeMap<String, BTreeSet<String>>, room: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![room];
    while let Some(next) = open.pop() {
        let imports = table.get(next).into_iter().flatten();
        open.extend(imports.filter(|import| found.insert((*import).clone())).map(String::as_str));
    }
    found
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// The rooms that a text imports by `crate::room` or `crate::{room, room::…}`.
fn imports(text: &str) -> BTreeSet<String> {
    let code = without_comments(text);
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for character in list.chars() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(first_word(&item));
                    item.clear();
                }
                _ => item.push(character),
            }
        }
        found.insert(first_word(&item));
    }
    found.remove("");
    found
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let table = allowed_imports();
    let mut wrong = Vec::new();
    for (file, text) in rust_files("src") {
        let Some(room) = room_of(&file) else { continue };
        // The helper program is a crate of its own.
        if file.starts_with("src/sandbox/helper/") {
            continue;
        }
        let Some(allowed) = table.get(&room) else {
            wrong.push(format!("{file}: the room `{room}` is not in the table of ARCHITECTURE.md"));
            continue;
        };
        for import in imports(&text) {
            let for_a_test = is_test(&file) && table.contains_key(&import) && !below(&table, &import).contains(&room);
            if import != room && !allowed.contains(&import) && !for_a_test {
                wrong.push(format!("{file}: `{room}` may not import `{import}`"));
            }
        }
        if without_comments(&text).contains("lapstrake_cache::") && !allowed.contains("lapstrake_cache") {
            wrong.push(format!("{file}: `{room}` may not import `lapstrake_cache`"));
        }
        if without_comments(&text).contains("super::super::") {
            wrong.push(format!("{file}: name rooms by `crate::room`, not by `super::super`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let table = allowed_imports();
    let mut placed: BTreeSet<&String> = BTreeSet::new();
    while placed.len() < table.len() {
        let next = table.iter().find(|(room, imports)| {
            !placed.contains(room) && imports.iter().all(|import| placed.contains(import) || !table.contains_key(import))
        });
        let (room, _) = next.expect("the table of allowed imports has a circle");
        placed.insert(room);
    }
}

#[test]
fn tests_may_import_what_is_not_above_their_room() {
    let table = allowed_imports();
    assert!(below(&table, "output").contains("spec") && !below(&table, "tree").contains("build"));
    assert!(is_test("src/plan/tests/mod.rs") && is_test("src/pins/tests.rs") && !is_test("src/plan/mod.rs"));
}

#[test]
fn every_room_of_the_table_exists() {
    for room in allowed_imports().keys() {
        let directory = root().join("src").join(room);
        assert!(directory.join("mod.rs").exists() || directory.with_extension("rs").exists(), "`{room}` is in the table but not in src/");
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut long = Vec::new();
    for directory in ["src", "cache", "tests", "examples"] {
        for (file, text) in rust_files(directory) {
            let lines = text.lines().count();
            if lines > MOST_LINES {
                long.push(format!("{file}: {lines} lines, more than {MOST_LINES}"));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let mut found = BTreeSet::new();
    let build_script = ("build.rs".to_owned(), read(&root().join("build.rs")));
    for (file, text) in ["src", "cache/src"].into_iter().flat_map(rust_files).chain([build_script]) {
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if code.any(|line| {
            ["unsafe {", "unsafe fn", "unsafe extern", "unsafe impl", "unsafe trait", "unsafe("].iter().any(|code| line.contains(code))
        }) {
            found.insert(if file.starts_with("src/sandbox/helper/sys/") { "src/sandbox/helper/sys/".to_owned() } else { file });
        }
    }
    assert_eq!(found, ["src/bin/lapstrake/memory.rs".to_owned(), "src/sandbox/helper/sys/".to_owned()].into());
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for (file, _) in rust_files("src") {
        for part in file.trim_end_matches(".rs").split('/') {
            assert!(!["util", "utils", "common", "helpers", "manager", "imp", "misc"].contains(&part), "{file}: `{part}` says nothing");
        }
    }
}

#[test]
fn every_diagnostic_code_has_its_page_and_every_page_its_code() {
    let mut codes = BTreeSet::new();
    for (file, text) in rust_files("src") {
        if file.ends_with("/tests.rs") {
            continue;
        }
        for rest in text.split("#[cfg(test)]").next().unwrap_or_default().split("Code(\"").skip(1) {
            codes.insert(rest.split('"').next().unwrap_or_default().to_owned());
        }
    }
    let pages: BTreeSet<String> = std::fs::read_dir(root().join("specs/diagnostics"))
        .expect("specs/diagnostics is there")
        .map(|entry| entry.expect("readable").file_name().to_str().expect("names are UTF-8").trim_end_matches(".md").to_owned())
        .collect();
    let without_page: Vec<_> = codes.difference(&pages).collect();
    let without_code: Vec<_> = pages.difference(&codes).collect();
    assert!(
        without_page.is_empty() && without_code.is_empty(),
        "codes without a page: {without_page:?}; pages without a code: {without_code:?}"
    );
}

#[test]
fn the_checked_in_schema_is_the_one_the_program_prints() {
    let checked_in: serde_json::Value = serde_json::from_str(&read(&root().join("specs/lapstrake.schema.json"))).expect("it is JSON");
    assert_eq!(checked_in, lapstrake::spec::schema(), "specs/lapstrake.schema.json is stale: UPDATE=1 cargo test --test suite");
}

#[test]
fn the_import_reader_sees_every_form() {
    let text = "use crate::tree::{Tree, Name};\nuse crate::{image::Platform, event::{Cancel, Event}, plan};\nlet x = crate::layer::pack(); // crate::never\n";
    let expected: BTreeSet<String> = ["tree", "image", "event", "plan", "layer"].map(str::to_owned).into();
    assert_eq!(imports(text), expected);
}

/// Names of functions in the last cells of SECURITY.md's tables whose last heading is "shown by".
fn shown_by() -> BTreeSet<String> {
    let text = read(&root().join("SECURITY.md"));
    let mut names = BTreeSet::new();
    let mut is_shown = false;
    for line in text.lines() {
        let Some(cells) = line.strip_prefix('|') else {
            is_shown = false;
            continue;
        };
        let last = cells.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        if !is_shown {
            is_shown = last.trim().starts_with("shown by");
            continue;
        }
        let quoted = last.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains('/'));
        names.extend(quoted.map(str::to_owned));
    }
    names
}

#[test]
fn what_security_md_says_is_shown_by_tests_that_are_there() {
    let mut tests = BTreeSet::new();
    for (_, text) in rust_files("tests").into_iter().chain(rust_files("src")) {
        for rest in text.split("#[test]").skip(1) {
            let name = rest.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            tests.extend(name.map(|name| name.trim().to_owned()));
        }
    }
    let shown = shown_by();
    assert!(shown.len() > 50, "the tables of SECURITY.md were not found");
    let missing: Vec<_> = shown.difference(&tests).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:?}");
    // And each attack is in a table.
    let attacks = rust_files("tests/hostile").into_iter().flat_map(|(_, text)| {
        let names = text.split("#[test]").skip(1).filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next().map(str::to_owned));
        names.collect::<Vec<_>>()
    });
    let unnamed: Vec<_> =
        attacks.filter(|name| !shown.contains(name) && name != "what_watches_the_outside_sees_each_sort_of_harm").collect();
    assert!(unnamed.is_empty(), "SECURITY.md does not name: {unnamed:?}");
}
