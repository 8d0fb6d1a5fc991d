//! `tests/suite/frontend/<case>/Dockerfile` → `expected.toml`, the spec that it is, or `expected.txt`, every message with its place.

use lapstrake::diagnostic::{SourceMap, render_plain};
use lapstrake::frontend::dockerfile::{self, Options, Purpose};
use lapstrake::spec;

#[test]
fn each_dockerfile_is_the_spec_that_is_expected_of_it() {
    super::all_agree(super::cases("frontend").into_iter().flat_map(|case| {
        let text = std::fs::read_to_string(case.join("Dockerfile")).unwrap();
        let mut map = SourceMap::new();
        let parsed =
            dockerfile::parse(map.add("Dockerfile", text.as_str()), &text, &Options { purpose: Purpose::Convert, ..Options::default() });
        let mut found = Vec::new();
        let said = render_plain(&map, &parsed.diagnostics);
        let toml = parsed.value.as_ref().map(spec::to_toml).unwrap_or_default();
        for (file, found_text) in [("expected.toml", &toml), ("expected.txt", &said)] {
            if !found_text.is_empty() || case.join(file).exists() {
                found.push(super::compare(&case.join(file), found_text));
            }
        }
        // Whatever a Dockerfile says has a spelling that is read as the same.
        if let Some(first) = parsed.value {
            let mut map = SourceMap::new();
            let again = spec::parse(map.add("lapstrake.toml", toml.as_str()), &toml);
            if again.value.as_ref() != Some(&first) {
                found.push(Err(format!(
                    "{}: it is not the same from TOML\n{toml}\n{}",
                    case.display(),
                    render_plain(&map, &again.diagnostics)
                )));
            }
        }
        found
    }));
}
