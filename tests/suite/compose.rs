//! `tests/suite/compose/<case>/compose.yaml` → `expected.toml`, the spec that it is and what stands beside it, and `expected.txt`, every
//! message with its place. `options` has lines `variable NAME=VALUE`, `profile NAME` and `service NAME`.

use std::path::{Path, PathBuf};

use lapstrake::diagnostic::{SourceId, SourceMap, render_plain};
use lapstrake::frontend::GitAddress;
use lapstrake::frontend::compose::{self, AgentSource, Compose, Files, Options, Reason, RepositoryKeys, SecretSource};
use lapstrake::spec;

/// The files of a case.
pub(crate) struct Folder {
    path: PathBuf,
    pub(crate) map: SourceMap,
    fetched: Vec<String>,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Folder {
        Folder { path, map: SourceMap::new(), fetched: Vec::new() }
    }
}

impl Files for Folder {
    fn read(&mut self, path: &str) -> Result<Option<(SourceId, String)>, String> {
        let file = self.path.join(path.trim_start_matches('/'));
        if !file.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        Ok(Some((self.map.add(path, text.as_str()), text)))
    }

    /// Every repository has the files of the case's `repository`.
    fn repository(&mut self, address: &str, keys: &RepositoryKeys) -> Result<Option<String>, String> {
        let agent = match &keys.agent {
            None => "no agent".to_owned(),
            Some(agent) => agent_text(agent).to_owned(),
        };
        let secrets: Vec<&str> = keys.secrets.keys().map(spec::Name::as_str).collect();
        self.fetched.push(format!("{address} with {agent} and the secrets [{}]", secrets.join(", ")));
        match GitAddress::parse(address) {
            Ok(None) => Ok(None),
            Ok(Some(_)) if self.path.join("repository").is_dir() => Ok(Some("/repository".to_owned())),
            Ok(Some(_)) => Err("there is no network here".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.map.add(name, text)
    }
}

fn options(case: &Path) -> Options {
    let mut options = Options::default();
    for line in std::fs::read_to_string(case.join("options")).unwrap_or_default().lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        match word {
            "variable" => drop(options.variables.insert(name.to_owned(), value.to_owned())),
            "profile" => drop(options.profiles.insert(name.to_owned())),
            "service" => drop(options.services.insert(name.to_owned())),
            other => panic!("{other}"),
        }
    }
    options
}

fn agent_text(agent: &AgentSource) -> &str {
    match agent {
        AgentSource::Callers => "the caller's",
        AgentSource::At(path) => path,
    }
}

/// The spec, with all else as comments.
fn shown(compose: &Compose, fetched: &[String]) -> String {
    let mut text = spec::to_toml(&compose.spec);
    for service in &compose.not_built {
        let why = match &service.reason {
            Reason::OnlyRuns => "only runs".to_owned(),
            Reason::Profiles(profiles) => format!("has the profiles {}", profiles.join(", ")),
        };
        text.push_str(&format!("# not built: {} {why}\n", service.service.value));
    }
    for (name, secret) in &compose.secrets {
        let from = match &secret.value {
            SecretSource::File(path) => format!("file {path}"),
            SecretSource::Variable(name) => format!("variable {name}"),
        };
        text.push_str(&format!("# secret {name}: {from}\n"));
    }
    for (name, agent) in &compose.agents {
        text.push_str(&format!("# agent {name}: {}\n", agent_text(&agent.value)));
    }
    for name in compose.offered.keys() {
        text.push_str(&format!("# for a base: {name}\n"));
    }
    for what in fetched {
        text.push_str(&format!("# fetched: {what}\n"));
    }
    text
}

#[test]
fn each_compose_file_is_the_spec_that_is_expected_of_it() {
    super::all_agree(super::cases("compose").into_iter().flat_map(|case| {
        let text = std::fs::read_to_string(case.join("compose.yaml")).unwrap();
        let mut files = Folder::new(case.clone());
        let source = files.map.add("compose.yaml", text.as_str());
        let parsed = compose::parse(source, &text, &options(&case), &mut files);
        assert!(parsed.value.is_some() || parsed.has_errors(), "{}: nothing, and no error", case.display());
        let toml = parsed.value.as_ref().map(|compose| shown(compose, &files.fetched)).unwrap_or_default();
        let said = render_plain(&files.map, &parsed.diagnostics);
        let mut found = Vec::new();
        for (file, text) in [("expected.toml", &toml), ("expected.txt", &said)] {
            if !text.is_empty() || case.join(file).exists() {
                found.push(super::compare(&case.join(file), text));
            }
        }
        if let Some(compose) = &parsed.value {
            let mut map = SourceMap::new();
            let again = spec::parse(map.add("lapstrake.toml", toml.as_str()), &toml);
            if again.value.as_ref() != Some(&compose.spec) {
                found.push(Err(format!("{}: not the same from TOML\n{}", case.display(), render_plain(&map, &again.diagnostics))));
            }
        }
        found
    }));
}

#[test]
fn every_code_of_compose_has_a_case_and_a_page() {
    let mut seen = std::collections::BTreeSet::new();
    for case in super::cases("compose") {
        let text = std::fs::read_to_string(case.join("compose.yaml")).unwrap();
        let mut files = Folder::new(case.clone());
        let source = files.map.add("compose.yaml", text.as_str());
        seen.extend(compose::parse(source, &text, &options(&case), &mut files).diagnostics.iter().map(|diagnostic| diagnostic.code.0));
    }
    for code in compose::CODES {
        assert!(seen.contains(code), "no case says {code}");
        assert!(lapstrake::diagnostic::page(code).is_some(), "{code}");
    }
}
