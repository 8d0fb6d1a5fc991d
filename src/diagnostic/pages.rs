//! A code → its page: what the mistake is, an example, how to put it right. The pages are `specs/diagnostics/<code>.md`.

/// Names each page once; a test compares the list with the folder.
macro_rules! pages {
    ($($code:literal,)*) => {
        &[$(($code, include_str!(concat!("../../specs/diagnostics/", $code, ".md"))),)*]
    };
}

/// Every code with its page, sorted.
const PAGES: &[(&str, &str)] = pages![
    "bad-commit",
    "bad-date",
    "bad-digest",
    "bad-duration",
    "bad-expansion",
    "bad-flag",
    "bad-git-reference",
    "bad-healthcheck",
    "bad-image-reference",
    "bad-mode",
    "bad-name",
    "bad-number",
    "bad-owner",
    "bad-path",
    "bad-pattern",
    "bad-platform",
    "bad-port",
    "bad-reference",
    "bad-run-mount",
    "bad-signal",
    "bad-size",
    "bad-source",
    "bad-stage",
    "bad-tag",
    "bad-url",
    "bad-variable",
    "bare-stage-name",
    "base-onbuild",
    "base-platform",
    "build-only-package",
    "cannot-express",
    "compose-extends",
    "compose-file",
    "compose-interpolation",
    "compose-key",
    "compose-no-effect",
    "compose-not-supported",
    "compose-nothing-to-build",
    "compose-number",
    "compose-too-large",
    "compose-type",
    "compose-unset",
    "compose-unused-argument",
    "compose-value",
    "copy-before-install",
    "default-not-a-choice",
    "dockerfile-syntax",
    "dotenv-syntax",
    "duplicate-item",
    "duplicate-mount",
    "duplicate-tag",
    "empty-value",
    "fixed-stage",
    "fixed-value",
    "foreign-platform-not-supported",
    "format-cannot-express",
    "json-form",
    "key-does-not-fit",
    "legacy-pair",
    "lock-duplicate",
    "lock-invalid",
    "lock-syntax",
    "lock-unknown-key",
    "lock-version",
    "missing-argument",
    "missing-key",
    "misspelt-command",
    "misspelt-path",
    "newer-toml",
    "no-stages",
    "not-a-choice",
    "not-in-this-version",
    "not-locked",
    "nothing-to-upgrade",
    "nul-character",
    "one-mount-kind",
    "one-verb",
    "package-lists-left",
    "path-climbs-out",
    "pip-cache-left",
    "reference-not-here",
    "relative-volume",
    "removed-too-late",
    "repaired-later",
    "secret-in-environment",
    "several-platforms-not-supported",
    "shell-in-path",
    "stage-cycle",
    "toml-syntax",
    "undeclared-variable",
    "unknown-argument",
    "unknown-flag",
    "unknown-image",
    "unknown-instruction",
    "unknown-key",
    "unknown-stage",
    "unknown-target",
    "unknown-word",
    "unpinned-base",
    "unpinned-repository",
    "unresolved-input",
    "unsafe-in-script",
    "unset-variable",
    "unsupported-version",
    "unused-argument",
    "unused-stage",
    "value-required",
    "value-too-long",
    "wrong-package-manager",
    "wrong-type",
    "yaml-syntax",
];

/// The page of a code, in Markdown; `None` for what is no code.
#[must_use]
pub fn page(code: &str) -> Option<&'static str> {
    let place = PAGES.binary_search_by(|(known, _)| (*known).cmp(code)).ok()?;
    PAGES.get(place).map(|(_, page)| *page)
}

/// Every code that has a page, sorted.
pub fn codes() -> impl Iterator<Item = &'static str> + Clone {
    PAGES.iter().map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_folder() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/diagnostics");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<String> = codes().map(|code| format!("{code}.md")).collect();
        assert_eq!(listed, files);
    }

    #[test]
    fn every_page_begins_with_its_code_and_says_how_to_put_it_right() {
        for code in codes() {
            let text = page(code).unwrap();
            assert!(text.starts_with(&format!("# {code}\n")), "{code}");
            assert!(text.contains("```") && text.lines().count() >= 6, "{code}");
        }
        assert_eq!(page("no-such-code"), None);
    }
}
