//! This machine: its settings → the store, the client for registries, the engine, and the wish to stop.

use std::sync::{Arc, OnceLock};

use lapstrake::build::{Engine, IsolationChoice};
use lapstrake::cache::{Limits, Store};
use lapstrake::event::Cancel;
use lapstrake::input::GitSettings;
use lapstrake::registry::Registry;
use lapstrake::sandbox::{Options, Rung, Start};

use crate::args::Progress;
use crate::exit::{Failure, Voice, chain};
use crate::settings::{Config, Surroundings};

/// Bytes that the store may have where the settings say nothing.
const STORE_BYTES: u64 = 20 << 30;

/// What commands need of this machine; each made when first asked for.
pub(crate) struct Machine {
    pub(crate) surroundings: Surroundings,
    config: OnceLock<Config>,
    cancel: OnceLock<Cancel>,
    /// How standard error is spoken to.
    pub(crate) voice: Voice,
}

impl Machine {
    /// `progress` is what the caller asked for, where the command shows any.
    pub(crate) fn new(surroundings: Surroundings, progress: Option<Progress>) -> Machine {
        let voice = match progress {
            Some(Progress::Json) => Voice::Json,
            Some(Progress::Quiet) => Voice::Quiet,
            Some(Progress::Auto | Progress::Plain | Progress::Tty) | None if surroundings.colour => Voice::Coloured,
            Some(Progress::Auto | Progress::Plain | Progress::Tty) | None => Voice::Plain,
        };
        Machine { surroundings, config: OnceLock::new(), cancel: OnceLock::new(), voice }
    }

    /// The wish to stop, which signals express from now on.
    pub(crate) fn cancel(&self) -> &Cancel {
        self.cancel.get_or_init(cancel_on_signals)
    }

    /// Whether somebody wished to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.get().is_some_and(Cancel::is_cancelled)
    }

    fn config(&self) -> Result<&Config, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = self.surroundings.config()?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The store, made if it is not there.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let path = self.surroundings.store()?;
        Store::open(&path).map_err(|error| Failure::world(chain(&error)))
    }

    /// How large the store may get.
    pub(crate) fn limits(&self) -> Result<Limits, Failure> {
        let bytes = match &self.config()?.cache.max_size {
            Some(text) => {
                crate::settings::size(text).map_err(|reason| Failure::usage(format!("`cache.max_size` in config.toml: {reason}")))?
            }
            None => STORE_BYTES,
        };
        Ok(Limits { bytes: Some(bytes), unused_for: None })
    }

    /// How registries are reached.
    pub(crate) fn registry_settings(&self) -> Result<lapstrake::registry::Settings, Failure> {
        crate::registries::settings(self.config()?, &self.surroundings)
    }

    /// The client for registries.
    pub(crate) fn registry(&self) -> Result<Registry, Failure> {
        let settings = self.registry_settings()?;
        let credentials = crate::registries::credentials(&settings, &self.surroundings);
        Registry::new(settings, Arc::new(credentials)).map_err(|error| Failure::world(chain(&error)))
    }

    /// How `git` is run: as registries are reached, and with no keys.
    pub(crate) fn git(&self) -> Result<GitSettings, Failure> {
        let registries = crate::registries::settings(self.config()?, &self.surroundings)?;
        Ok(GitSettings {
            search_path: self.surroundings.variable("PATH").unwrap_or_default().to_owned(),
            proxies: registries.proxies,
            hosts: registries.hosts,
            ..GitSettings::default()
        })
    }

    /// The engine.
    pub(crate) fn engine(&self, isolation: crate::args::Isolation) -> Result<Engine, Failure> {
        Ok(Engine::new(match isolation {
            crate::args::Isolation::Auto => IsolationChoice::Auto(self.sandbox_options()),
            crate::args::Isolation::Userns => IsolationChoice::Only(Rung::UserNamespace, self.sandbox_options()),
            crate::args::Isolation::SingleId => IsolationChoice::Only(Rung::SingleId, self.sandbox_options()),
            crate::args::Isolation::Chroot => IsolationChoice::Only(Rung::Chroot, self.sandbox_options()),
            crate::args::Isolation::None => IsolationChoice::None,
        }))
    }

    /// What the sandbox has to know of this machine.
    pub(crate) fn sandbox_options(&self) -> Options {
        let start = match self.surroundings.store() {
            Ok(path) if path.is_dir() => Start::FromMemoryOr { path },
            Ok(_) | Err(_) => Start::FromMemory,
        };
        let mut options = Options { start, ..Options::default() };
        if let Some(path) = self.surroundings.variable("PATH") {
            options.programs.extend(std::env::split_paths(path).filter(|path| path.is_absolute()));
        }
        options
    }
}

/// A wish to stop that the usual signals express: once to stop in order, twice to end at once.
fn cancel_on_signals() -> Cancel {
    let cancel = Cancel::new();
    let wish = cancel.clone();
    let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
            let mut asked = false;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if asked {
                    #[expect(clippy::exit, reason = "the user asked twice")]
                    std::process::exit(130);
                }
                asked = true;
                wish.cancel();
            }
        });
    });
    // Without the thread, signals end the process as they always do.
    drop(spawned);
    cancel
}
