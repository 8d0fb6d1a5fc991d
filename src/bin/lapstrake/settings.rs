//! The machine's side: environment variables, home directories, `config.toml` → handles for the library.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use serde::Deserialize;

use crate::exit::Failure;

/// What the environment says, read once.
pub(crate) struct Surroundings {
    variables: BTreeMap<String, std::ffi::OsString>,
    /// The file with logins that the command line names.
    pub(crate) authfile: Option<PathBuf>,
    /// Whether a program reads what is printed.
    pub(crate) ci: bool,
    /// Whether standard error may be coloured.
    pub(crate) colour: bool,
}

/// `config.toml`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// By registry, such as `docker.io`.
    pub(crate) registries: BTreeMap<String, crate::registries::RegistryConfig>,
    /// The store.
    pub(crate) cache: CacheConfig,
    /// What commands may use, where the command line does not say it.
    pub(crate) limits: LimitsConfig,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// Such as `2GiB`.
    pub(crate) memory: Option<String>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    /// Processors.
    pub(crate) cpus: Option<f64>,
}

/// `[cache]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheConfig {
    /// Such as `20GiB`.
    pub(crate) max_size: Option<String>,
    /// As `--cache-from`, which counts instead where it is given.
    pub(crate) from: Vec<String>,
    /// As `--cache-to`, which counts instead where it is given.
    pub(crate) to: Vec<String>,
    /// A file with the private key that signs results, PEM.
    pub(crate) sign: Option<PathBuf>,
    /// Whose results count: `ed25519:…`, or files with public keys, PEM.
    pub(crate) trust: Vec<String>,
}

impl Surroundings {
    #[expect(clippy::disallowed_methods, reason = "the command line is the one place that reads the environment")]
    pub(crate) fn read() -> Surroundings {
        let variables: BTreeMap<String, std::ffi::OsString> =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        let set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
        let ci = set("CI");
        let colour = !set("NO_COLOR") && std::io::stderr().is_terminal() && variables.get("TERM").is_none_or(|term| term != "dumb");
        Surroundings { variables, authfile: None, ci, colour }
    }

    /// With the file with logins that the command line names, if it does.
    pub(crate) fn with_logins_of(self, authfile: Option<PathBuf>) -> Surroundings {
        Surroundings { authfile, ..self }
    }

    /// Only these variables, for tests.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(variables: [(&str, &str); N]) -> Surroundings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        Surroundings { variables, authfile: None, ci: false, colour: false }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&std::ffi::OsStr> {
        self.variables.get(name).map(std::ffi::OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// All variables that are texts.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        self.variables.iter().filter_map(|(name, value)| Some((name.clone(), value.to_str()?.to_owned()))).collect()
    }

    pub(crate) fn directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        self.variable(variable)
            .map(PathBuf::from)
            .and_then(absolute)
            .or_else(|| self.variable("HOME").map(PathBuf::from).and_then(absolute).map(|home| home.join(below_home)))
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> Result<PathBuf, Failure> {
        if let Some(home) = self.variable("LAPSTRAKE_HOME") {
            return std::path::absolute(home).map_err(|error| Failure::world(format!("`LAPSTRAKE_HOME` is no usable path: {error}")));
        }
        self.directory("XDG_CACHE_HOME", ".cache")
            .map(|cache| cache.join("lapstrake"))
            .ok_or_else(|| Failure::world("no place for the store: set `LAPSTRAKE_HOME`, `XDG_CACHE_HOME` or `HOME`"))
    }

    /// The machine's settings; the file need not be there.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let Some(path) = self.directory("XDG_CONFIG_HOME", ".config").map(|config| config.join("lapstrake/config.toml")) else {
            return Ok(Config::default());
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
            Err(error) => Err(Failure::world(format!("{}: {error}", path.display()))),
        }
    }
}

/// A size of memory as [`size`] reads it, or as Docker does: `512m`, and bytes alone.
pub(crate) fn memory(text: &str) -> Result<u64, &'static str> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => size(&format!("{number}B")),
        "k" => size(&format!("{number}KiB")),
        "m" => size(&format!("{number}MiB")),
        "g" => size(&format!("{number}GiB")),
        _ => size(text),
    }
}

/// A size such as `20GiB`, `500MB` or `0`.
pub(crate) fn size(text: &str) -> Result<u64, &'static str> {
    if text == "0" {
        return Ok(0);
    }
    lapstrake::spec::words::parse_size(text)
}
