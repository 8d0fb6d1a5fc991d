//! A finished image or stage, and a command → the command run in it, and how it ended. Whatever it changes is thrown away.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::asked::{BuiltStage, Options};
use super::engine::Engine;
use super::layers::Unpack;
use super::site::Site;
use super::state::State;
use super::steps::run::{Prepared, Shown, prepare};
use super::{Error, Failure};
use crate::event::TaskId;
use crate::image::{Blobs, Config, Sealed};
use crate::input::{BaseLayer, Outside};
use crate::plan::{self, ImageSource, Network, Plan, Run};
use crate::sandbox::{Beyond, Console, DirectoryAccess, Exit, Mount, MountKind, Sandbox as _, Signals};

/// What is run in.
pub enum Root<'r> {
    /// A stage that was built.
    Stage {
        /// The plan that it is of.
        plan: &'r Plan,
        /// It, of a build with its stage in [`Options::unpacked`].
        stage: &'r BuiltStage,
    },
    /// An image. Layers that are in a registry are fetched when they are needed.
    Image {
        /// The image.
        image: &'r Sealed,
        /// Its layers that are in no registry.
        blobs: &'r dyn Blobs,
        /// Where it is, for messages.
        place: &'r str,
    },
}

/// What is run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its environment. `PATH` and `HOME` are added where they are missing.
    pub env: BTreeMap<String, String>,
    /// Absolute; must exist.
    pub workdir: String,
    /// `user[:group]`, names of the image or numbers; empty is user 0.
    pub user: String,
    /// Which network it sees. Its ports are those of the host then.
    pub network: Network,
    /// What it shares with the host.
    pub volumes: Vec<Volume>,
}

/// A file or directory that a command shares with the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it is on the host; absolute.
    pub host: PathBuf,
    /// Where the command sees it; absolute.
    pub at: String,
    /// What may be done to it.
    pub access: DirectoryAccess,
}

impl Invocation {
    /// What an image says of itself, on the host's network. As with Docker, an entrypoint that is given replaces the image's together with its
    /// `cmd`, and a command that is given replaces the `cmd`.
    #[must_use]
    pub fn of(config: &Config, entrypoint: Option<&[String]>, command: &[String]) -> Invocation {
        let own = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        let mut argv = entrypoint.map_or_else(|| own(&config.entrypoint), <[String]>::to_vec);
        if !command.is_empty() {
            argv.extend_from_slice(command);
        } else if entrypoint.is_none() {
            argv.extend(own(&config.cmd));
        }
        let variable = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Invocation {
            argv,
            env: config.env.iter().flatten().filter_map(variable).collect(),
            workdir: config.working_dir.clone().filter(|workdir| !workdir.is_empty()).unwrap_or_else(|| "/".to_owned()),
            user: config.user.clone().unwrap_or_default(),
            network: Network::Host,
            volumes: Vec::new(),
        }
    }
}

impl Engine {
    /// Runs a command in an image or stage, to its end. All its processes are gone then, and all its changes.
    ///
    /// # Errors
    /// When it could not be started, or was stopped. A command that fails is no error.
    pub fn execute(
        &self,
        root: &Root<'_>,
        invocation: &Invocation,
        outside: &Outside<'_>,
        options: &Options,
        console: Console<'_>,
        signals: &Signals,
    ) -> Result<Exit, Error> {
        match root {
            Root::Stage { plan, stage } => self.with_state(plan, outside, options, stage, |site, state| {
                execute(site, state, invocation, console, signals).map_err(Error::of)
            }),
            Root::Image { image, blobs, place } => {
                let site = self.site(outside, outside.cancel, options, Unpack::Directory, 0);
                let state = known(&site, image, *blobs, place).map_err(Error::of)?;
                execute(&site, &state, invocation, console, signals).map_err(Error::of)
            }
        }
    }
}

/// The state that an image is, with all its layers within reach.
fn known(site: &Site<'_>, image: &Sealed, blobs: &dyn Blobs, place: &str) -> Result<State, Failure> {
    let store = site.outside.store;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let source = match &layer.from {
            Some(reference) => ImageSource::Registry(reference.clone()),
            None => {
                let digest = &layer.descriptor.digest;
                if store.blob(digest)?.is_none() {
                    let wrong = |source| Failure::File { path: PathBuf::from(place), source };
                    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("the layer {digest} is not there"));
                    let mut from = blobs.open(digest).map_err(wrong)?.ok_or_else(|| wrong(missing()))?;
                    let mut into = store.new_blob()?;
                    io::copy(&mut from, &mut into).map_err(wrong)?;
                    into.finish_expecting(digest, None)?;
                }
                ImageSource::Tar { path: place.to_owned() }
            }
        };
        layers.push(BaseLayer { diff_id: layer.diff_id, descriptor: layer.descriptor.clone(), source });
    }
    Ok(site.layers.know(&layers))
}

fn execute(site: &Site<'_>, state: &State, invocation: &Invocation, console: Console<'_>, signals: &Signals) -> Result<Exit, Failure> {
    let Invocation { argv, env, workdir, user, network, volumes } = invocation;
    let run = Run {
        argv: argv.clone(),
        env: env.clone(),
        workdir: workdir.clone(),
        user: user.clone(),
        network: *network,
        mounts: Vec::<plan::Mount>::new(),
        discard: Vec::new(),
        timeout: None,
        refresh: None,
    };
    let mut prepared: Prepared<'_> = prepare(site, TaskId::fresh(), &run, state, &Shown::default())?;
    // What steps are given for the sake of equal results has no place in a finished image.
    let added = OsString::from("SOURCE_DATE_EPOCH");
    prepared.job.env.retain(|(name, _)| *name != added || env.contains_key("SOURCE_DATE_EPOCH"));
    // Nothing that it does is a result.
    prepared.job.beyond = Beyond::Refused;
    for Volume { host, at, access } in volumes {
        let kind = MountKind::Shared { path: host.clone(), access: *access };
        prepared.job.mounts.push(Mount { at: at.clone().into_bytes(), kind });
    }
    Ok(prepared.isolation.attach(&prepared.job, console, signals, site.outside.cancel)?.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entrypoint_and_command_are_put_together_as_docker_does() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let config = Config { entrypoint: Some(words("/entry -x")), cmd: Some(words("serve 80")), ..Config::default() };
        let cases: [(Option<&str>, &str, &str); 5] = [
            (None, "", "/entry -x serve 80"),
            (None, "check", "/entry -x check"),
            (Some("/bin/sh"), "", "/bin/sh"),
            (Some("/bin/sh"), "-c true", "/bin/sh -c true"),
            (Some(""), "true", "true"),
        ];
        for (entrypoint, command, expected) in cases {
            let entrypoint = entrypoint.map(words);
            assert_eq!(Invocation::of(&config, entrypoint.as_deref(), &words(command)).argv, words(expected));
        }
    }
}
