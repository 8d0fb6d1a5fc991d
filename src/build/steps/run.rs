//! A command: directories of the state below, mounts and secrets in; what it changed out, kept in the store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use lapstrake_cache::Fingerprint;

use super::agents::Agents;
use super::caches::Caches;
use super::ground::Ground;
use super::left::Left;
use super::specials;
use crate::build::accounts::{Account, Accounts, Owner};
use crate::build::failed::FailedRoot;
use crate::build::mask::Mask;
use crate::build::site::Site;
use crate::build::state::State;
use crate::build::workplace::NoSandbox;
use crate::build::{Exit, Failure, Lost};
use crate::event::{Event, EventKind, Stream, TaskId};
use crate::plan::{self, CacheAccess, MountKind, Run};
use crate::sandbox::{self, Beyond, DirectoryAccess, Finished, Isolation, Job, Mount, Rung, Sandbox, User};
use crate::tree::{Difference, Tree};

/// The usual search path, where the image's environment has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The host name that every step sees.
const HOST_NAME: &str = "lapstrake";
/// How many bytes of a command's last output go into the message when it fails.
const TAIL_BYTES: usize = 4096;

/// What a command left.
pub(in crate::build) struct Ran {
    /// What it changed.
    pub(in crate::build) difference: Difference,
    /// On which rung it ran.
    pub(in crate::build) rung: &'static str,
}

/// Files from elsewhere that mounts show or caches begin with, by where they are mounted.
#[derive(Default)]
pub(in crate::build) struct Shown {
    /// The states that they are in.
    pub(in crate::build) states: BTreeMap<String, State>,
    /// The names of the files themselves.
    pub(in crate::build) names: BTreeMap<String, Fingerprint>,
}

/// Runs the command and keeps what it changed.
pub(in crate::build) fn run(
    site: &Site<'_>,
    (task, label): (TaskId, &str),
    run: &Run,
    below: &State,
    shown: &Shown,
) -> Result<Ran, Failure> {
    let Prepared { isolation, tree, ground, caches, agents, job } = prepare(site, task, run, below, shown)?;
    let rung = isolation.check().map_err(|error| NoSandbox::on(isolation.rung(), error))?.name();

    let mut tail = Vec::new();
    // A proxy's address may hold a password.
    let proxies = site.proxies.values().filter(|address| address.contains('@')).map(String::as_bytes);
    let mut mask = Mask::new(site.secrets.values().chain(proxies));
    let mut show = |stream, bytes: Vec<u8>| {
        if bytes.is_empty() {
            return;
        }
        tail.extend_from_slice(&bytes);
        if tail.len() > 2 * TAIL_BYTES {
            tail.drain(..tail.len() - TAIL_BYTES);
        }
        site.outside.events.send(Event { task, kind: EventKind::Output { stream, bytes } });
    };
    let finished = isolation.run(&job, &mut |stream, bytes| show(stream, mask.piece(stream, bytes)), site.outside.cancel);
    for stream in [Stream::Out, Stream::Err] {
        show(stream, mask.rest(stream));
    }
    let look = |failure: &Failure, finished: Option<&Finished>| {
        if let Some(on_failure) = site.on_failure {
            let left = Left::new(site, run, &shown.states, (isolation, &job), (&ground, &tree), finished);
            on_failure.look(&FailedRoot { left: &left, label, failure });
        }
    };
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            let has_root = error.left_the_root();
            let failure = Failure::from(error);
            if has_root {
                look(&failure, None);
            }
            return Err(failure);
        }
    };
    let exit = match finished.exit {
        sandbox::Exit::Code(0) => None,
        sandbox::Exit::Code(code) => Some(Exit::Code(code)),
        sandbox::Exit::Signal(signal) => Some(Exit::Signal(signal)),
        sandbox::Exit::OverLimit(exhausted) => Some(Exit::OverLimit(exhausted)),
        sandbox::Exit::TimedOut => Some(Exit::TimedOut(run.timeout.unwrap_or_default())),
    };
    if let Some(exit) = exit {
        let missing = missing(isolation.rung(), run.network);
        let failure = Failure::Command { exit, output: last_lines(&tail), missing, beyond: finished.beyond.clone() };
        look(&failure, Some(&finished));
        return Err(failure);
    }

    let difference = ground.changes(site, run, below, &tree, &finished)?;
    drop(agents);
    caches.give_back(site);
    Ok(Ran { difference, rung })
}

/// A command with everything that it needs in its place.
pub(in crate::build) struct Prepared<'e> {
    pub(in crate::build) isolation: &'e Isolation,
    tree: Arc<Tree>,
    ground: Ground,
    caches: Caches,
    agents: Agents,
    pub(in crate::build) job: Job,
}

/// Puts everything in its place for a command.
pub(in crate::build) fn prepare<'e>(
    site: &Site<'e>,
    task: TaskId,
    run: &Run,
    below: &State,
    shown: &Shown,
) -> Result<Prepared<'e>, Failure> {
    let isolation = site.workplace.isolation()?;
    for state in std::iter::once(below).chain(shown.states.values()) {
        site.layers.unpack_all(state)?;
    }
    let tree = site.layers.tree(below)?;
    let contents = site.layers.contents(below);
    let accounts = Accounts::new(&tree, &contents);
    let account = accounts.account(&run.user)?;

    let mut ground = Ground::make(site, below, &tree)?;
    // The locks come last of what can take long, and last until all that the command did is read.
    let caches = Caches::take(site, task, run, shown, ground.crowd())?;
    let mut env = environment(run, &account, site);
    let mut mounts = Vec::new();
    let mut agents = Agents::default();
    for mount in &run.mounts {
        if let MountKind::Ssh { id, owner, mode, required } = &mount.kind {
            // Whether somebody answers there is no input, and so nothing that the environment tells.
            env.entry("SSH_AUTH_SOCK".to_owned()).or_insert_with(|| mount.at.clone().into());
            let Some(agent) = site.agent(id, *required)? else { continue };
            let owner = match owner {
                Some(owner) => accounts.owner(owner)?,
                None => Owner { uid: account.uid, gid: account.gid },
            };
            let path = agents.forward(site, agent, owner, *mode)?;
            let access = DirectoryAccess::Written;
            mounts.push(Mount { at: mount.at.clone().into_bytes(), kind: sandbox::MountKind::Directory { path, access } });
        }
        mounts.extend(mounted(site, mount, &accounts, shown, &mut env, (&caches, &mut ground))?);
    }
    let (lowers, upper) = ground.root();
    let job = Job {
        lowers,
        upper,
        argv: run.argv.iter().map(OsString::from).collect(),
        env: env.into_iter().map(|(name, value)| (OsString::from(name), value)).collect(),
        workdir: run.workdir.clone().into_bytes(),
        user: User { uid: account.uid, gid: account.gid, groups: account.groups },
        mounts,
        network: match run.network {
            plan::Network::Off => sandbox::Network::Off,
            plan::Network::Host => sandbox::Network::Host,
        },
        hostname: HOST_NAME.to_owned(),
        time_limit: run.timeout,
        specials: match isolation.rung() {
            Rung::UserNamespace | Rung::Chroot => Vec::new(),
            Rung::SingleId => specials::of_step(site, run, &tree, &shown.states)?,
        },
        beyond: match isolation.rung() {
            // What goes on without it would come to another result than elsewhere.
            Rung::UserNamespace => Beyond::Stops,
            Rung::SingleId => Beyond::Refused,
            // There may be nothing better where this one is: what a step makes of it is its own affair.
            Rung::Chroot => Beyond::Told,
        },
    };
    Ok(Prepared { isolation, tree, ground, caches, agents, job })
}

fn environment(run: &Run, account: &Account, site: &Site<'_>) -> BTreeMap<String, OsString> {
    let mut env: BTreeMap<String, OsString> = run.env.iter().map(|(name, value)| (name.clone(), value.into())).collect();
    env.entry("PATH".to_owned()).or_insert_with(|| PATH.into());
    env.entry("HOME".to_owned()).or_insert_with(|| account.home.clone().into());
    env.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| site.epoch.to_string().into());
    if run.network == plan::Network::Host {
        for (name, value) in site.proxies {
            env.entry(name.clone()).or_insert_with(|| value.into());
        }
    }
    env
}

/// What a command on this rung has to do without, and which a failure may come from.
const fn missing(rung: Rung, network: plan::Network) -> Option<&'static str> {
    match (rung, network) {
        (Rung::UserNamespace | Rung::SingleId, _) => None,
        (Rung::Chroot, plan::Network::Off) => Some(
            "on the rung `chroot` there is no /proc, and without `network = true` there are no network sockets, not even those of the \
             loopback interface: what asks for one is told `Permission denied`",
        ),
        (Rung::Chroot, plan::Network::Host) => Some("on the rung `chroot` there is no /proc"),
    }
}

fn last_lines(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// What one mount of the plan is for the sandbox; `None` for what is no mount in the end.
fn mounted(
    site: &Site<'_>,
    mount: &plan::Mount,
    accounts: &Accounts<'_>,
    shown: &Shown,
    env: &mut BTreeMap<String, OsString>,
    (caches, ground): (&Caches, &mut Ground),
) -> Result<Option<Mount>, Failure> {
    let owner = |owner: &Option<String>| owner.as_deref().map(|owner| accounts.owner(owner)).transpose().map(Option::unwrap_or_default);
    let kind = match &mount.kind {
        MountKind::Cache { id: _taken_already, sharing: _likewise, owner: name, mode, first: _also_taken, access } => {
            let owner = name.as_deref().map(|name| accounts.owner(name)).transpose()?;
            let path = caches.directory(site, mount, shown, owner, *mode)?.ok_or(Failure::Lost(Lost::Nothing))?;
            let access = match access {
                CacheAccess::Kept => DirectoryAccess::Written,
                CacheAccess::ReadOnly => {
                    ground.watch(&mount.at, &path)?;
                    DirectoryAccess::ReadOnly
                }
            };
            sandbox::MountKind::Directory { path, access }
        }
        MountKind::From { source: _, path, access } => {
            let state = shown.states.get(&mount.at).ok_or(Failure::Lost(Lost::Nothing))?;
            ground.part(site, &mount.at, state, path, access)?
        }
        MountKind::Secret { id, owner: name, mode, required } => {
            let Some(secret) = site.secret(id, *required)? else { return Ok(None) };
            let owner = owner(name)?;
            sandbox::MountKind::File { bytes: secret.to_vec(), uid: owner.uid, gid: owner.gid, mode: *mode }
        }
        MountKind::SecretEnv { id, required } => {
            if let Some(secret) = site.secret(id, *required)? {
                env.insert(mount.at.clone(), OsString::from_vec(secret.to_vec()));
            }
            return Ok(None);
        }
        // Made with its socket.
        MountKind::Ssh { .. } => return Ok(None),
        MountKind::Tmpfs { size } => sandbox::MountKind::Tmpfs { size_bytes: *size },
    };
    Ok(Some(Mount { at: mount.at.clone().into_bytes(), kind }))
}
