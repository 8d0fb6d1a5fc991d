//! Messages of later rooms about a spec that was made here in, the same with hints in the words of a Dockerfile out.

use crate::diagnostic::Diagnostic;

/// What to do about a mistake of this code, in a Dockerfile. Codes whose hints know no language, or that no Dockerfile can have, are not here.
const HINTS: [(&str, &[&str]); 8] = [
    ("bad-mode", &["write octal digits such as `0755`, or changes such as `u=rwX,go=rX`"]),
    ("base-onbuild", &["write what they do as instructions"]),
    (
        "foreign-platform-not-supported",
        &[
            "stages without RUN can be built for any platform",
            "a stage that makes files for every platform may begin with `FROM --platform=$BUILDPLATFORM`",
        ],
    ),
    ("missing-argument", &["give it a value, `--build-arg NAME=…`, or a default, `ARG NAME=…`"]),
    ("no-stages", &["begin with `FROM` and the image to start from"]),
    ("reference-not-here", &["use an argument: `ARG NAME`"]),
    ("unresolved-input", &["give its `--checksum=sha256:…`, or pin it with `lapstrake lock`"]),
    ("unset-variable", &["set it with ENV or ARG before this, or write what stands for it: `${NAME:-…}`"]),
];

/// The same message, with hints for people who have a Dockerfile before them.
#[must_use]
pub fn reworded(diagnostic: Diagnostic) -> Diagnostic {
    match HINTS.iter().find(|(code, _)| *code == diagnostic.code.0) {
        Some((_, hints)) => Diagnostic { hints: hints.iter().map(|hint| (*hint).to_owned()).collect(), ..diagnostic },
        None => diagnostic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Code, Span};

    #[test]
    fn a_dockerfile_is_told_what_to_write_in_it() {
        let said = |code| reworded(Diagnostic::error(Code(code), Span::NONE, "wrong").hint("write `x = \"y\"`")).hints;
        assert_eq!(said("missing-argument"), ["give it a value, `--build-arg NAME=…`, or a default, `ARG NAME=…`"]);
        assert_eq!(said("bad-port"), ["write `x = \"y\"`"]);
    }

    #[test]
    fn every_code_that_is_reworded_is_one() {
        let known: Vec<&str> = crate::diagnostic::codes().collect();
        for (code, _) in HINTS {
            assert!(known.contains(&code), "{code}");
        }
    }
}
