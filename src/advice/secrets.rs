//! Arguments and variables that look like secrets.

use super::Advisor;
use super::diagnostics::{self as say, Keeper};
use super::script::UNKNOWN;
use super::text::likely;
use crate::diagnostic::Diagnostic;
use crate::spec::{Change, Env, Setting, Verb};

pub(super) fn look(advisor: &Advisor<'_>, found: &mut Vec<Diagnostic>) {
    let language = advisor.facts.language;
    for (name, argument) in &advisor.spec.args {
        let default = argument.default.as_ref().map_or("", |default| default.value.as_str());
        // What has no value is one that the caller gives.
        if (is_secret_name(name.as_str()) && !is_harmless(default)) || is_secret_value(default) {
            let shown = name.as_str().rsplit('.').next().unwrap_or_default();
            found.push(say::secret(argument.span, shown, Keeper::Argument, language));
        }
    }
    let mut of_env = |env: &Env, keeper: Keeper| {
        for (name, value) in env {
            let Change::Set(template) = &value.value else { continue };
            let text = likely(template, &advisor.spec.args);
            let of_argument = text.contains(UNKNOWN) || template.as_literal().is_none();
            // A step that gets it from an argument says no more than the argument does.
            if keeper == Keeper::Step && of_argument {
                continue;
            }
            if (is_secret_name(name) && (of_argument || !(text.is_empty() || is_harmless(&text)))) || is_secret_value(&text) {
                found.push(say::secret(value.span, name, keeper, language));
            }
        }
    };
    for view in &advisor.stages {
        let keeper = if view.images.is_empty() { Keeper::Step } else { Keeper::Image };
        of_env(&view.stage.settings.env, keeper);
        for step in &view.stage.steps {
            match &step.verb {
                Verb::Setting(Setting::Env(env)) => of_env(env, keeper),
                Verb::Run(run) => of_env(&run.env, Keeper::Step),
                Verb::Setting(Setting::Workdir { .. } | Setting::User(_) | Setting::Shell(_) | Setting::History(_))
                | Verb::Copy(_)
                | Verb::Write(_)
                | Verb::Fetch(_)
                | Verb::Extract(_)
                | Verb::Link(_)
                | Verb::MakeDirectory(_)
                | Verb::Remove(_) => {}
            }
        }
    }
    for image in advisor.spec.images.values() {
        of_env(&image.settings.env, Keeper::Image);
    }
}

/// Words that make a name that of a secret.
const SECRET: &[&str] =
    &["APIKEY", "CREDENTIAL", "CREDENTIALS", "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "PWORD", "SECRET", "SECRETS", "TOKEN"];

/// Words that make a `KEY` behind them one that is secret.
const KEYS: &[&str] = &["ACCESS", "API", "AUTH", "DEPLOY", "ENCRYPTION", "LICENSE", "PRIVATE", "SECRET", "SIGNING", "SSH"];

/// Last words of names of things that are about a secret and are none.
const ABOUT: &[&str] = &[
    "ALGORITHM",
    "COOKIE",
    "DAYS",
    "DIR",
    "DIRECTORY",
    "ENABLED",
    "EXPIRE",
    "EXPIRES",
    "EXPIRY",
    "FIELD",
    "FILE",
    "HASHER",
    "HASHERS",
    "HEADER",
    "HOST",
    "HOURS",
    "ID",
    "ISSUER",
    "LENGTH",
    "LIFETIME",
    "MINUTES",
    "NAME",
    "PATH",
    "PORT",
    "PREFIX",
    "PROVIDER",
    "REQUIRED",
    "SECONDS",
    "SIZE",
    "TTL",
    "TYPE",
    "URI",
    "URL",
    "VALIDATORS",
    "VERSION",
];

fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.contains(&"PUBLIC") || words.last().is_some_and(|last| ABOUT.contains(last)) {
        return false;
    }
    words.iter().any(|word| SECRET.contains(word)) || words.windows(2).any(|pair| matches!(pair, [first, "KEY"] if KEYS.contains(first)))
}

/// `dbPassword`, `DB_PASSWORD` and `db-password` have the words `DB` and `PASSWORD`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_lower = false;
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() || (character.is_ascii_uppercase() && before_lower) {
            words.push(String::new());
        }
        if character.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(character.to_ascii_uppercase());
        }
        before_lower = character.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A value that tells nothing: a switch, a number, a path.
fn is_harmless(value: &str) -> bool {
    let word = value.to_ascii_lowercase();
    matches!(word.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "null")
        || value.starts_with('/')
        || (!value.is_empty() && value.len() < 4 && value.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Beginnings of tokens that well-known services hand out.
const BEGINNINGS: &[&str] = &["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "rk_live_", "npm_", "hf_"];

/// A value that is one whatever it is called.
fn is_secret_value(value: &str) -> bool {
    let long_word = |rest: &str| rest.len() >= 16 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    BEGINNINGS.iter().any(|start| value.strip_prefix(start).is_some_and(long_word))
        || value
            .strip_prefix("AKIA")
            .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
        || (value.contains("-----BEGIN ") && value.contains("PRIVATE KEY-----"))
        || has_password(value)
}

/// `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) else { return false };
    !scheme.is_empty() && !password.is_empty() && !password.contains([UNKNOWN, '$', '{', '<'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_about_them() {
        for name in [
            "DB_PASSWORD",
            "dbPassword",
            "SECRET_KEY",
            "API_KEY",
            "NPM_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "MYSQL_ROOT_PASSWORD",
            "db-pass",
            "APIKEY",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "GPG_KEY",
            "PASSWORD_FILE",
            "TOKENIZERS_PARALLELISM",
            "AUTHOR",
            "PUBLIC_API_KEY",
            "SECRET_NAME",
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            "KEYBOARD",
            "PASSENGER",
            "PWD",
            "COMPASS",
            "AWS_ACCESS_KEY_ID",
            "SORT_KEY",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_of_secrets_are_known_whatever_they_are_called() {
        for value in [
            "postgres://app:hunter2@db/app",
            "ghp_0123456789abcdefABCDEF0123456789abcd",
            "AKIAIOSFODNN7EXAMPLE",
            "-----BEGIN RSA PRIVATE KEY-----\nx",
        ] {
            assert!(is_secret_value(value), "{value}");
        }
        for value in ["postgres://db/app", "postgres://app@db", "postgres://app:$PASSWORD@db", "http://a/b:c@d", "npm_config", "AKIA", ""] {
            assert!(!is_secret_value(value), "{value}");
        }
    }
}
