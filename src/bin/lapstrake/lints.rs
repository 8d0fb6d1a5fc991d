//! `--deny`, `--allow`, and what a Dockerfile says of its own checks → which warnings are shown, and which are errors.

use std::collections::BTreeSet;

use lapstrake::advice::Directive;
use lapstrake::diagnostic::{self, Diagnostic, Severity, nearest};

use crate::args;
use crate::exit::Failure;

/// What becomes of warnings. Errors stay what they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lints {
    allowed: BTreeSet<String>,
    denied: BTreeSet<String>,
    /// Whether there are any at all, and whether each is an error.
    all: All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum All {
    #[default]
    Shown,
    Denied,
    Hidden,
}

impl Lints {
    /// Checks the codes.
    pub(crate) fn new(arguments: &args::Lints) -> Result<Lints, Failure> {
        let mut lints = Lints::default();
        for word in &arguments.deny {
            if word == "warnings" {
                lints.all = All::Denied;
            } else {
                lints.denied.insert(code("--deny", word)?);
            }
        }
        for word in &arguments.allow {
            if word == "warnings" {
                return Err(Failure::usage("`--allow warnings`: name the code of the warning, as printed in brackets"));
            }
            lints.allowed.insert(code("--allow", word)?);
        }
        Ok(lints)
    }

    /// What a Dockerfile says of its own checks counts too; what the caller denies stays denied.
    pub(crate) fn with(mut self, directive: Directive) -> Lints {
        self.allowed.extend(directive.skipped);
        if self.all == All::Shown && directive.all {
            self.all = All::Hidden;
        } else if self.all == All::Shown && directive.deny {
            self.all = All::Denied;
        }
        self
    }

    /// Puts them in force.
    pub(crate) fn apply(&self, diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
        let judged = diagnostics.iter().filter_map(|diagnostic| match diagnostic.severity {
            Severity::Error => Some(diagnostic.clone()),
            Severity::Warning if self.denied.contains(diagnostic.code.0) => Some(denied(diagnostic)),
            Severity::Warning if self.all == All::Hidden || self.allowed.contains(diagnostic.code.0) => None,
            Severity::Warning if self.all == All::Denied => Some(denied(diagnostic)),
            Severity::Warning => Some(diagnostic.clone()),
        });
        judged.collect()
    }
}

fn denied(diagnostic: &Diagnostic) -> Diagnostic {
    Diagnostic { severity: Severity::Error, ..diagnostic.clone() }.hint("a warning by itself, and an error because warnings are denied")
}

fn code(option: &str, word: &str) -> Result<String, Failure> {
    if diagnostic::page(word).is_some() {
        return Ok(word.to_owned());
    }
    let meant = nearest(word, diagnostic::codes()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Failure::usage(format!("`{option} {word}`: there is no such code{meant}")))
}

#[cfg(test)]
mod tests {
    use lapstrake::advice::Directive;
    use lapstrake::diagnostic::{Code, Span};

    use super::*;

    fn severities(deny: &[&str], allow: &[&str]) -> Vec<(&'static str, Severity)> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let lints = Lints::new(&args::Lints { deny: owned(deny), allow: owned(allow) }).unwrap();
        let given = [
            Diagnostic::error(Code("unknown-key"), Span::NONE, "x"),
            Diagnostic::warning(Code("unused-argument"), Span::NONE, "x"),
            Diagnostic::warning(Code("unset-variable"), Span::NONE, "x"),
        ];
        lints.apply(&given).into_iter().map(|diagnostic| (diagnostic.code.0, diagnostic.severity)).collect()
    }

    #[test]
    fn warnings_are_shown_denied_or_allowed_and_errors_stay() {
        use Severity::{Error, Warning};
        let all = |unused, unset| vec![("unknown-key", Error), ("unused-argument", unused), ("unset-variable", unset)];
        assert_eq!(severities(&[], &[]), all(Warning, Warning));
        assert_eq!(severities(&["warnings"], &[]), all(Error, Error));
        assert_eq!(severities(&["unset-variable"], &[]), all(Warning, Error));
        assert_eq!(severities(&["warnings"], &["unused-argument", "unknown-key"]), [("unknown-key", Error), ("unset-variable", Error)]);
    }

    #[test]
    fn a_file_may_skip_codes_or_all_of_them_and_deny_the_rest() {
        let codes = |lints: Lints| {
            let given = [
                Diagnostic::warning(Code("unused-argument"), Span::NONE, "x"),
                Diagnostic::warning(Code("unset-variable"), Span::NONE, "x"),
            ];
            lints.apply(&given).into_iter().map(|diagnostic| (diagnostic.code.0, diagnostic.severity)).collect::<Vec<_>>()
        };
        let skipped = BTreeSet::from(["unused-argument".to_owned()]);
        let directive = Directive { all: false, skipped, deny: true };
        assert_eq!(codes(Lints::default().with(directive)), [("unset-variable", Severity::Error)]);
        let all = Directive { all: true, ..Directive::default() };
        assert_eq!(codes(Lints::default().with(all.clone())), []);
        let denied = Lints::new(&args::Lints { deny: vec!["warnings".to_owned()], allow: Vec::new() }).unwrap();
        assert_eq!(codes(denied.with(all)).len(), 2);
    }

    #[test]
    fn a_code_that_is_none_is_refused_with_the_nearest() {
        let error = Lints::new(&args::Lints { deny: vec!["unused-argumnet".to_owned()], allow: Vec::new() }).unwrap_err();
        assert!(format!("{error:?}").contains("unused-argument"));
    }
}
