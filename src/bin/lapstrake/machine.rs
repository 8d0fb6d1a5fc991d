//! This machine: its settings → the store, the client for registries, the engine, and the wish to stop.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lapstrake::build::{Engine, IsolationChoice};
use lapstrake::cache::{Limits as StoreLimits, Store};
use lapstrake::event::{Cancel, Event, EventKind, EventSink};
use lapstrake::input::GitSettings;
use lapstrake::registry::{Patience, Registry};
use lapstrake::sandbox::{Limits, Options, Rung, Signals, Start};

use crate::args::Progress;
use crate::exit::{Failure, Voice, chain, remark};
use crate::settings::{Config, Surroundings};

/// Bytes that the store may have where the settings say nothing.
const STORE_BYTES: u64 = 20 << 30;

/// What commands need of this machine; each made when first asked for.
pub(crate) struct Machine {
    pub(crate) surroundings: Surroundings,
    config: OnceLock<Config>,
    cancel: OnceLock<Cancel>,
    /// Whether signals are passed on to a command, and stop nothing here.
    passes_on: Arc<AtomicBool>,
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
        Machine { surroundings, config: OnceLock::new(), cancel: OnceLock::new(), passes_on: Arc::default(), voice }
    }

    /// The wish to stop, which signals express from now on.
    pub(crate) fn cancel(&self) -> &Cancel {
        self.cancel.get_or_init(|| cancel_on_signals(Arc::clone(&self.passes_on)))
    }

    /// From now on signals are for a command, which has `grace` after the first that asks it to end. The number of the last that did so is in
    /// what comes back, 0 while none did.
    pub(crate) fn pass_signals_on(&self, signals: &Signals, grace: Duration) -> Arc<AtomicU8> {
        let asked = Arc::new(AtomicU8::new(0));
        self.passes_on.store(true, Ordering::SeqCst);
        pass_on(self.cancel().clone(), signals.clone(), Arc::clone(&asked), grace);
        asked
    }

    /// Whether somebody wished to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.get().is_some_and(Cancel::is_cancelled)
    }

    /// The settings.
    pub(crate) fn config(&self) -> Result<&Config, Failure> {
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
    pub(crate) fn limits(&self) -> Result<StoreLimits, Failure> {
        let bytes = match &self.config()?.cache.max_size {
            Some(text) => {
                crate::settings::size(text).map_err(|reason| Failure::usage(format!("`cache.max_size` in config.toml: {reason}")))?
            }
            None => STORE_BYTES,
        };
        Ok(StoreLimits { bytes: Some(bytes), unused_for: None })
    }

    /// How registries are reached.
    pub(crate) fn registry_settings(&self) -> Result<lapstrake::registry::Settings, Failure> {
        crate::registries::settings(self.config()?, &self.surroundings)
    }

    /// The client for registries.
    pub(crate) fn registry(&self) -> Result<Registry, Failure> {
        self.registry_with(Patience::default())
    }

    /// A client that gives up soon, for what can be done without.
    pub(crate) fn hasty_registry(&self) -> Result<Registry, Failure> {
        self.registry_with(Patience {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            attempts: 2,
            first_wait: Duration::from_millis(400),
            longest_wait: Duration::from_secs(2),
            longest_asked_wait: Duration::from_secs(5),
        })
    }

    fn registry_with(&self, patience: Patience) -> Result<Registry, Failure> {
        let settings = lapstrake::registry::Settings { patience, ..self.registry_settings()? };
        let credentials = crate::registries::credentials(&settings, &self.surroundings);
        let registry = Registry::new(settings, Arc::new(credentials)).map_err(|error| Failure::world(chain(&error)))?;
        registry.tell(Arc::new(Remarks(self.voice)));
        Ok(registry)
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

    /// The engine, whose commands may use what the command line says, else what the settings say.
    pub(crate) fn engine(&self, isolation: crate::args::Isolation, given: &crate::args::Limits) -> Result<Engine, Failure> {
        Ok(Machine::engine_of(isolation, Options { limits: self.command_limits(given)?, ..self.sandbox_options() }))
    }

    /// An engine that runs no commands.
    pub(crate) fn idle_engine(&self) -> Engine {
        Machine::engine_of(crate::args::Isolation::Auto, self.sandbox_options())
    }

    fn engine_of(isolation: crate::args::Isolation, options: Options) -> Engine {
        Engine::new(match isolation {
            crate::args::Isolation::Auto => IsolationChoice::Auto(options),
            crate::args::Isolation::Userns => IsolationChoice::Only(Rung::UserNamespace, options),
            crate::args::Isolation::SingleId => IsolationChoice::Only(Rung::SingleId, options),
            crate::args::Isolation::Chroot => IsolationChoice::Only(Rung::Chroot, options),
            crate::args::Isolation::None => IsolationChoice::None,
        })
    }

    fn command_limits(&self, given: &crate::args::Limits) -> Result<Limits, Failure> {
        let set = &self.config()?.limits;
        let memory = match (&given.memory, &set.memory) {
            (Some(text), _) => memory(text, &format!("--memory {text}"))?,
            (None, Some(text)) => memory(text, &format!("limits.memory = {text}"))?,
            (None, None) => 0,
        };
        let millicpus = match given.cpus.or(set.cpus) {
            None => 0,
            Some(cpus) => millicpus(cpus)
                .ok_or_else(|| Failure::usage(format!("`cpus` is {cpus}, which is no number of processors from 0.01 on, such as 1.5")))?,
        };
        let some = |limit: u64| (limit > 0).then_some(limit);
        Ok(Limits { memory_bytes: some(memory), pids: given.pids.or(set.pids).and_then(some), millicpus: some(millicpus) })
    }

    /// What the sandbox has to know of this machine.
    pub(crate) fn sandbox_options(&self) -> Options {
        let directories = self.surroundings.store().ok();
        let start = match &directories {
            Some(path) if path.is_dir() => Start::FromMemoryOr { path: path.clone() },
            Some(_) | None => Start::FromMemory,
        };
        let mut options = Options { start, directories, ..Options::default() };
        if let Some(path) = self.surroundings.variable("PATH") {
            options.programs.extend(std::env::split_paths(path).filter(|path| path.is_absolute()));
        }
        options
    }
}

/// The least memory that programs can be started with.
const LEAST_MEMORY_BYTES: u64 = 4 << 20;

fn memory(text: &str, place: &str) -> Result<u64, Failure> {
    match crate::settings::memory(text) {
        Ok(bytes @ 1..LEAST_MEMORY_BYTES) => {
            Err(Failure::usage(format!("`{place}`: {bytes} bytes are less than the 4MiB that programs need")))
        }
        Ok(bytes) => Ok(bytes),
        Err(reason) => Err(Failure::usage(format!("`{place}`: {reason}"))),
    }
}

/// A number of processors in thousandths; 0 stays 0.
fn millicpus(cpus: f64) -> Option<u64> {
    const MOST: u32 = 1_000_000;
    match cpus {
        0.0 => Some(0),
        // The kernel's least is a hundredth.
        cpus if (0.01..=f64::from(MOST)).contains(&cpus) => {
            std::time::Duration::try_from_secs_f64(cpus).ok().and_then(|time| u64::try_from(time.as_millis()).ok())
        }
        _ => None,
    }
}

/// Says what is noted, for commands that show nothing else of what happens.
struct Remarks(Voice);

impl EventSink for Remarks {
    fn send(&self, event: Event) {
        if let EventKind::Noted { message } = event.kind {
            remark(&format!("note: {message}\n"), self.0);
        }
    }
}

/// A wish to stop that the usual signals express: once to stop in order, twice to end at once.
fn cancel_on_signals(passes_on: Arc<AtomicBool>) -> Cancel {
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
                if passes_on.load(Ordering::SeqCst) {
                    continue;
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

/// Passes signals on to a command; ends it some time after the first that asks it to end, or at the second.
fn pass_on(cancel: Cancel, signals: Signals, asked: Arc<AtomicU8>, grace: Duration) {
    let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [1, 2, 3, 10, 12, 15].map(SignalKind::from_raw);
            let [Ok(mut hangup), Ok(mut interrupt), Ok(mut quit), Ok(mut user1), Ok(mut user2), Ok(mut terminate)] = kinds.map(signal)
            else {
                return;
            };
            loop {
                let number: u8 = tokio::select! {
                    _ = hangup.recv() => 1,
                    _ = interrupt.recv() => 2,
                    _ = quit.recv() => 3,
                    _ = user1.recv() => 10,
                    _ = user2.recv() => 12,
                    _ = terminate.recv() => 15,
                };
                signals.send(number);
                if !matches!(number, 2 | 3 | 15) {
                    continue;
                }
                if asked.swap(number, Ordering::SeqCst) != 0 {
                    cancel.cancel();
                    continue;
                }
                let cancel = cancel.clone();
                let later = move || {
                    #[expect(clippy::disallowed_methods, reason = "the command has this long to end")]
                    std::thread::sleep(grace);
                    cancel.cancel();
                };
                drop(std::thread::Builder::new().name("grace".to_owned()).spawn(later));
            }
        });
    });
    // Without the thread, signals end the process as they always do, and the command with it.
    drop(spawned);
}
