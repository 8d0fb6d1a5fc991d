//! `tests/suite/convert/<case>/Dockerfile` → `expected.toml` and `exact.toml`; and whatever the other cases are, converting loses nothing.

use std::path::Path;

use lapstrake::diagnostic::{SourceMap, render_plain};
use lapstrake::frontend::convert::{Contexts, Manner, to_toml};
use lapstrake::frontend::dockerfile;
use lapstrake::spec::{self, Name, Spec};

fn read(case: &Path) -> (SourceMap, Option<Spec>) {
    let file = case.join("Dockerfile");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut map = SourceMap::new();
    let parsed = dockerfile::parse(map.add("Dockerfile", text.as_str()), &text, &dockerfile::Options::default());
    (map, parsed.value)
}

/// The folder of a case is its context; a checkout's umask is of no interest.
struct Folder<'c>(&'c Path);

impl Contexts for Folder<'_> {
    fn read(&self, _context: Option<&Name>, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(path.trim_start_matches('/'))).ok()
    }

    fn is_normal(&self, _context: Option<&Name>, path: &str) -> bool {
        !path.contains("odd")
    }
}

fn convert(case: &Path, spec: &Spec, map: &SourceMap, manner: Manner) -> String {
    to_toml(spec, map, manner, &Folder(case))
}

/// The spec of a text, which must have no errors.
fn again(case: &Path, toml: &str) -> Result<Spec, String> {
    let mut map = SourceMap::new();
    let parsed = spec::parse(map.add("lapstrake.toml", toml), toml);
    let failed = parsed.has_errors();
    match parsed.value {
        Some(spec) if !failed => Ok(spec),
        Some(_) | None => Err(format!("{}\n{toml}\n{}", case.display(), render_plain(&map, &parsed.diagnostics))),
    }
}

#[test]
fn each_dockerfile_is_converted_as_expected() {
    super::all_agree(super::cases("convert").into_iter().flat_map(|case| {
        let (map, spec) = read(&case);
        let spec = spec.unwrap_or_else(|| panic!("{}: it is wrong", case.display()));
        [(Manner::Idiomatic, "expected.toml"), (Manner::Exact, "exact.toml")]
            .map(|(manner, file)| super::compare(&case.join(file), &convert(&case, &spec, &map, manner)))
    }));
}

#[test]
fn whatever_is_converted_is_read_again_and_exactly_the_same_where_that_is_asked_for() {
    super::all_agree(super::cases("convert").into_iter().chain(super::cases("frontend")).flat_map(|case| {
        let (map, spec) = read(&case);
        let Some(spec) = spec else { return Vec::new() };
        let exact = again(&case, &convert(&case, &spec, &map, Manner::Exact))
            .and_then(|exact| if exact == spec { Ok(()) } else { Err(format!("{}: not the same exactly", case.display())) });
        let idiomatic = again(&case, &convert(&case, &spec, &map, Manner::Idiomatic)).map(drop);
        vec![exact, idiomatic]
    }));
}

#[test]
fn the_readme_shows_what_is_made_of_a_dockerfile() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for (file, language) in [("Dockerfile", "dockerfile"), ("expected.toml", "toml")] {
        let text = std::fs::read_to_string(root.join("tests/suite/convert/readme").join(file)).unwrap();
        assert!(readme.contains(&format!("```{language}\n{text}```\n")), "README.md does not have {file} as it is");
    }
}
