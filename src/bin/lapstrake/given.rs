//! `--arg` and `--build-arg` → values of arguments, proxies, and what is to be said of the rest.

use std::collections::BTreeMap;

use lapstrake::diagnostic::{Code, Diagnostic, Span, nearest};
use lapstrake::frontend::dockerfile::PROXY_ARGUMENTS;
use lapstrake::spec::{Name, OnBuild, Spec};

use crate::exit::Failure;
use crate::settings::Surroundings;

/// What was given, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) args: BTreeMap<String, String>,
    /// What only the `ONBUILD` of a base may declare.
    pub(crate) offered: BTreeMap<String, String>,
    pub(crate) proxies: BTreeMap<String, String>,
    pub(crate) source_date: Option<String>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// What `--arg` and `--build-arg` say, before it is known what is declared.
pub(crate) fn values(strict: &[(String, String)], lenient: &[String], surroundings: &Surroundings) -> BTreeMap<String, String> {
    let lenient = lenient.iter().filter_map(|text| {
        let (name, value) = pair(text, surroundings);
        value.map(|value| (name.to_owned(), value))
    });
    strict.iter().cloned().chain(lenient).collect()
}

/// Without a value of its own it has that of the variable, where that is set.
fn pair<'t>(text: &'t str, surroundings: &Surroundings) -> (&'t str, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, surroundings.variable(text).map(|value| value.to_string_lossy().into_owned())),
    }
}

/// `strict` is what `--arg` says: whether it is declared is checked with the spec. `lenient` is what `--build-arg` says.
pub(crate) fn arguments(
    spec: &Spec,
    strict: &[(String, String)],
    lenient: &[String],
    surroundings: &Surroundings,
) -> Result<Given, Failure> {
    let mut given = Given::default();
    for (name, value) in strict {
        if given.args.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("`--arg {name}` is given twice")));
        }
    }
    for text in lenient {
        let (name, value) = pair(text, surroundings);
        if name.is_empty() {
            return Err(Failure::usage(format!("`--build-arg {text}`: expected NAME=VALUE or NAME")));
        }
        // One that has its value from the environment and is not set there was not given at all.
        let Some(value) = value else { continue };
        if strict.iter().any(|(known, _)| known == name) {
            return Err(Failure::usage(format!("`{name}` is given both by `--arg` and by `--build-arg`")));
        }
        if spec.args.contains_key(name) {
            // The last one counts, as with Docker.
            given.args.insert(name.to_owned(), value);
        } else if PROXY_ARGUMENTS.contains(&name) {
            given.proxies.insert(name.to_owned(), value);
        } else if name == "SOURCE_DATE_EPOCH" {
            given.source_date = Some(value);
        } else if name.starts_with("BUILDKIT_") {
            continue;
        } else if carries_out(spec) {
            given.offered.insert(name.to_owned(), value);
        } else {
            given.warnings.push(unused(name, spec));
        }
    }
    Ok(given)
}

/// Whether a stage carries out what its base has for it, which may declare arguments.
pub(crate) fn carries_out(spec: &Spec) -> bool {
    spec.stages.values().any(|stage| stage.onbuild.as_ref().is_some_and(|onbuild| onbuild.value == OnBuild::Run))
}

/// What is said of a value that nothing declares.
pub(crate) fn unused(name: &str, spec: &Spec) -> Diagnostic {
    let warning =
        Diagnostic::warning(Code("unknown-argument"), Span::NONE, format!("`--build-arg {name}` is not used: no argument is called that"));
    match nearest(name, spec.args.keys().map(Name::as_str)) {
        Some(near) => warning.hint(format!("did you mean `{near}`?")),
        None => warning,
    }
}

#[cfg(test)]
mod tests {
    use lapstrake::spec::{Argument, Spanned};

    use super::*;

    fn of(lenient: &[&str]) -> Given {
        let args = ["version", "HTTP_PROXY"].map(|name| (Name::new(name).unwrap(), Spanned::made(Argument::default())));
        let spec = Spec { args: BTreeMap::from(args), ..Spec::default() };
        let lenient: Vec<String> = lenient.iter().map(|text| (*text).to_owned()).collect();
        arguments(&spec, &[], &lenient, &Surroundings::of([("FROM_OUTSIDE", "1"), ("version", "9")])).unwrap()
    }

    #[test]
    fn a_declared_argument_has_its_last_value_or_that_of_the_environment() {
        assert_eq!(of(&["version=1", "version=2=3"]).args, BTreeMap::from([("version".to_owned(), "2=3".to_owned())]));
        assert_eq!(of(&["version"]).args, BTreeMap::from([("version".to_owned(), "9".to_owned())]));
        assert_eq!(of(&["version="]).args, BTreeMap::from([("version".to_owned(), String::new())]));
    }

    #[test]
    fn what_nothing_declares_is_a_warning_unless_docker_knows_it() {
        let given =
            of(&["verison=1", "FROM_OUTSIDE", "unset", "BUILDKIT_INLINE_CACHE=1", "no_proxy=a", "HTTP_PROXY=b", "SOURCE_DATE_EPOCH=7"]);
        let messages: Vec<&str> = given.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(given.warnings[0].hints, ["did you mean `version`?"]);
        assert_eq!(given.proxies, BTreeMap::from([("no_proxy".to_owned(), "a".to_owned())]));
        assert_eq!(given.args, BTreeMap::from([("HTTP_PROXY".to_owned(), "b".to_owned())]));
        assert_eq!(given.source_date.as_deref(), Some("7"));
    }
}
