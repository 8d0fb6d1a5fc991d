//! What a Dockerfile says of its own checks: `# check=skip=NAME,NAME;error=true` among the directives at its top.

use std::collections::BTreeSet;

/// Which warnings a file does not want, and whether the rest is to be errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directive {
    /// `skip=all`.
    pub all: bool,
    /// Codes that are not shown.
    pub skipped: BTreeSet<String>,
    /// `error=true`.
    pub deny: bool,
}

/// Docker's names of checks that have a code here.
const OF_DOCKER: &[(&str, &str)] = &[
    ("LegacyKeyValueFormat", "legacy-pair"),
    ("SecretsUsedInArgOrEnv", "secret-in-environment"),
    ("UndefinedArgInFrom", "undeclared-variable"),
    ("UndefinedVar", "undeclared-variable"),
];

/// Reads the directives. They end with the first line that is none; names count in any case.
#[must_use]
pub fn directive(dockerfile: &str) -> Directive {
    let mut found = Directive::default();
    for line in dockerfile.trim_start_matches('\u{feff}').lines() {
        let Some((name, value)) = line.trim_start().strip_prefix('#').and_then(|line| line.split_once('=')) else { break };
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            break;
        }
        if name.eq_ignore_ascii_case("check") {
            value.split(';').for_each(|part| read(part, &mut found));
        }
    }
    found
}

fn read(part: &str, found: &mut Directive) {
    let Some((key, value)) = part.split_once('=') else { return };
    match key.trim().to_ascii_lowercase().as_str() {
        "skip" => {
            for word in value.split(',').map(str::trim) {
                if word.eq_ignore_ascii_case("all") {
                    found.all = true;
                    continue;
                }
                let known = OF_DOCKER.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
                found.skipped.insert(known.map_or_else(|| word.to_ascii_lowercase(), |(_, code)| (*code).to_owned()));
            }
        }
        "error" => found.deny = value.trim().eq_ignore_ascii_case("true"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directive_stands_at_the_top_and_speaks_dockers_names_and_ours() {
        let words = |text: &str| directive(text).skipped.into_iter().collect::<Vec<_>>();
        assert_eq!(
            words("# syntax=x\n#check=skip=UndefinedVar, unpinned-base;error=true\nFROM a"),
            ["undeclared-variable", "unpinned-base"]
        );
        assert!(directive("# Check = error=TRUE\n").deny);
        assert!(directive("# check=skip=all").all);
        for text in ["FROM a\n# check=skip=all", "# a comment\n# check=skip=all", "\n# check=skip=all", "", "# check=skip"] {
            assert_eq!(directive(text), Directive::default(), "{text:?}");
        }
    }
}
