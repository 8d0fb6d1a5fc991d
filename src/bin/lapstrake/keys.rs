//! `--secret` and `--ssh`, and what a Compose file gives besides → secrets, agents, and who `git` says that we are.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lapstrake::build::Secrets;
use lapstrake::frontend::compose::{AgentSource, SecretSource};
use lapstrake::input::{GitLogins, GitSettings};
use lapstrake::plan::{MountKind, Plan, StepKind};

use crate::agent::{self, Agent};
use crate::args;
use crate::exit::Failure;
use crate::machine::Machine;

/// The name of the agent that serves `git`.
const DEFAULT: &str = "default";

/// What the command line gives.
#[derive(Default)]
pub(crate) struct Keys {
    secrets: BTreeMap<String, Vec<u8>>,
    agents: BTreeMap<String, Agent>,
}

/// What a Compose file gives. Paths are absolute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// Agents by name.
    pub(crate) agents: BTreeMap<String, AgentSource>,
    /// Secrets by name.
    pub(crate) secrets: BTreeMap<String, SecretSource>,
}

/// How `git` is run, with the agent that it may be served by.
pub(crate) struct Git {
    pub(crate) settings: GitSettings,
    agent: Option<Agent>,
}

impl Keys {
    /// Reads secrets and opens agents.
    pub(crate) fn read(machine: &Machine, given: &args::Keys) -> Result<Keys, Failure> {
        let mut keys = Keys { secrets: secrets(machine, &given.secrets)?, agents: BTreeMap::new() };
        for text in &given.ssh {
            let (id, place) = text.split_once('=').map_or((text.as_str(), None), |(id, place)| (id, Some(place)));
            keys.agents.insert(id.to_owned(), agent::open(machine, &format!("--ssh {text}"), place)?);
        }
        Ok(keys)
    }

    /// How `git` is run with these keys, and with those of a Compose file that the command line does not give.
    pub(crate) fn git(&self, machine: &Machine, given: &Given) -> Result<Git, Failure> {
        let mut settings = machine.git()?;
        let agent = match (self.agents.get(DEFAULT), given.agents.get(DEFAULT)) {
            (None, Some(source)) => of_compose(machine, DEFAULT, source)?,
            (Some(_), _) | (None, None) => None,
        };
        settings.agent = self.agents.get(DEFAULT).or(agent.as_ref()).map(|agent| agent.socket.clone());
        let mut take = |id: &str, value: &[u8]| settings.logins.take(id, value).map_err(|error| Failure::usage(error.to_string()));
        for (id, value) in &self.secrets {
            take(id, value)?;
        }
        for (id, source) in given.secrets.iter().filter(|(id, _)| GitLogins::is_one(id) && !self.secrets.contains_key(*id)) {
            take(id, &secret(machine, id, source)?)?;
        }
        Ok(Git { settings, agent })
    }

    /// The secrets for steps: those of the command line, and those of a Compose file that the plan needs and the command line does not give.
    pub(crate) fn secrets(&self, machine: &Machine, plan: &Plan, given: &Given) -> Result<Secrets, Failure> {
        let mut secrets = Secrets::new();
        self.secrets.iter().for_each(|(id, value)| secrets.insert(id, value.clone()));
        let needed = plan.secrets();
        for (id, source) in given.secrets.iter().filter(|(id, _)| needed.contains_key(id.as_str()) && !self.secrets.contains_key(*id)) {
            secrets.insert(id, secret(machine, id, source)?);
        }
        Ok(secrets)
    }

    /// The agents for steps, as [`Keys::secrets`].
    pub(crate) fn agents(&self, machine: &Machine, plan: &Plan, given: &Given, git: &Git) -> Result<Agents, Failure> {
        let mut agents = Agents { sockets: BTreeMap::new(), _open: Vec::new() };
        agents.sockets.extend(self.agents.iter().map(|(id, agent)| (id.clone(), agent.socket.clone())));
        for id in wanted(plan).filter(|id| !self.agents.contains_key(*id)) {
            let socket = match (given.agents.get(id), &git.agent) {
                (None, _) => continue,
                (Some(_), Some(open)) if id == DEFAULT => open.socket.clone(),
                (Some(source), _) => {
                    let Some(agent) = of_compose(machine, id, source)? else { continue };
                    let socket = agent.socket.clone();
                    agents._open.push(agent);
                    socket
                }
            };
            agents.sockets.insert(id.to_owned(), socket);
        }
        Ok(agents)
    }
}

impl Git {
    /// Without keys.
    pub(crate) fn plain(machine: &Machine) -> Result<Git, Failure> {
        Ok(Git { settings: machine.git()?, agent: None })
    }
}

/// Agents for steps, as long as this lives.
pub(crate) struct Agents {
    /// Their sockets, by name.
    pub(crate) sockets: BTreeMap<String, PathBuf>,
    _open: Vec<Agent>,
}

/// The names of the agents that the steps of a plan mount.
fn wanted(plan: &Plan) -> impl Iterator<Item = &str> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let mounts = steps.flat_map(|step| match &step.kind {
        StepKind::Run(run) => run.mounts.as_slice(),
        StepKind::Copy(_)
        | StepKind::Write(_)
        | StepKind::Fetch(_)
        | StepKind::Extract(_)
        | StepKind::Link(_)
        | StepKind::MakeDirectory(_)
        | StepKind::Remove(_)
        | StepKind::Setting => &[],
    });
    mounts.filter_map(|mount| match &mount.kind {
        MountKind::Ssh { id, .. } => Some(id.as_str()),
        MountKind::Cache { .. }
        | MountKind::From { .. }
        | MountKind::Secret { .. }
        | MountKind::SecretEnv { .. }
        | MountKind::Tmpfs { .. } => None,
    })
}

/// The agent that a Compose file names; `None` where that is the caller's, who has none: a step that cannot do without it says so.
fn of_compose(machine: &Machine, id: &str, source: &AgentSource) -> Result<Option<Agent>, Failure> {
    let open = |place: Option<&str>| agent::open(machine, &format!("ssh: {id}"), place).map(Some);
    match source {
        AgentSource::Callers if agent::of_caller(machine).is_none() => Ok(None),
        AgentSource::Callers => open(None),
        AgentSource::At(place) => open(Some(place)),
    }
}

/// `id=NAME[,src=FILE|,env=VAR]`; without a place, the variable or file of that name.
pub(crate) fn secrets(machine: &Machine, given: &[String]) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut secrets = BTreeMap::new();
    for text in given {
        let wrong =
            |reason: &str| Failure::usage(format!("`--secret {text}`: {reason}; expected id=NAME,src=FILE or id=NAME,env=VARIABLE"));
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, "file");
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("id", value)) if !value.is_empty() => id = Some(value),
                Some(("src" | "source", value)) => file = Some(value),
                Some(("env", value)) => variable = Some(value),
                Some(("type", word @ ("file" | "env"))) => kind = word,
                Some((key, _)) => return Err(wrong(&format!("`{key}` is not known"))),
                None => return Err(wrong(&format!("`{part}` has no `=`"))),
            }
        }
        let id = id.ok_or_else(|| wrong("it has no `id`"))?;
        if kind == "env" && variable.is_none() {
            variable = file.take();
        }
        let value = match (file, variable) {
            (Some(_), Some(_)) => return Err(wrong("it has two places")),
            (Some(file), None) => of_file(id, file)?,
            (None, Some(name)) => of_variable(machine, id, name)?,
            (None, None) if machine.surroundings.variable(id).is_none() && std::path::Path::new(id).is_file() => of_file(id, id)?,
            (None, None) => of_variable(machine, id, id)?,
        };
        secrets.insert(id.to_owned(), value);
    }
    Ok(secrets)
}

fn secret(machine: &Machine, id: &str, source: &SecretSource) -> Result<Vec<u8>, Failure> {
    match source {
        SecretSource::File(file) => of_file(id, file),
        SecretSource::Variable(name) => of_variable(machine, id, name),
    }
}

fn of_file(id: &str, file: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::usage(format!("the secret `{id}`: cannot read `{file}`: {error}")))
}

fn of_variable(machine: &Machine, id: &str, name: &str) -> Result<Vec<u8>, Failure> {
    match machine.surroundings.variable(name) {
        Some(value) => Ok(value.as_bytes().to_vec()),
        None => Err(Failure::usage(format!("the secret `{id}`: the variable `{name}` is not set, or empty"))),
    }
}
