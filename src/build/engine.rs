//! The engine: handles that outlive a build, and the build itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lapstrake_cache::{Fingerprint, RemoveTree};

use super::asked::{Built, BuiltImage, BuiltStage, Fresh, Options, StepReport};
use super::assemble::{self, Ended};
use super::elsewhere::Elsewhere;
use super::execute::{self, Action, Answered, Came};
use super::explain::{self, Explanation, Reason};
use super::export::{self, Job};
use super::layers::{Layers, Unpack};
use super::listing;
use super::once::Once;
use super::order::{Node, Part, needs};
use super::private::PrivateRoots;
use super::queue::{self, Queue};
use super::repositories::Repositories;
use super::site::Site;
use super::snapshots::Mounts;
use super::sources::Sources;
use super::state::State;
use super::turned;
use super::wanted::Needs;
use super::workplace::{IsolationChoice, Workplace};
use super::{Error, FailedStep, Failure, schedule};
use crate::event::{Cancel, Event, EventKind, Outcome, TaskKind};
use crate::input::Outside;
use crate::plan::{Base, Image, ImageSource, Plan, Stage, StageId, Step, StepId, StepKind};
use crate::sandbox::Rung;
use crate::tree::{Contents, DirectoryHandle, DiskError, Tree};

/// How often a build begins anew because something in the store turned out to be damaged: each attempt may find one more thing.
const ATTEMPTS: usize = 8;

/// What outlives a build: the hands that work on the store, and the sandbox, opened when first needed.
#[derive(Debug)]
pub struct Engine {
    first: Workplace,
    /// Where users, owners and devices are a model, once a build needed it.
    model: OnceLock<Workplace>,
}

/// One run over a plan.
struct Run<'e> {
    site: Site<'e>,
    plan: &'e Plan,
    options: &'e Options,
    needs: Needs,
    sources: Sources,
    begun: Mutex<BTreeMap<StageId, Ended>>,
    ended: Mutex<BTreeMap<StageId, Ended>>,
    cames: Mutex<BTreeMap<StepId, Came>>,
    /// Where steps leave the layers that they made for images, to be packed while later ones run.
    made: Queue<(StepId, State)>,
    /// Equal actions in flight are done once, where no record is too old for one of them that is good enough for the other.
    actions: Once<(Fingerprint, Anew), Came>,
}

impl Engine {
    /// An engine that runs steps in this way.
    #[must_use]
    pub fn new(isolation: IsolationChoice) -> Engine {
        Engine { first: Workplace::new(isolation), model: OnceLock::new() }
    }

    fn workplace(&self) -> &Workplace {
        self.model.get().unwrap_or(&self.first)
    }

    /// Whether the build begins anew where users, owners and devices are a model, since it has failed for want of that. Once.
    fn turns_to_model(&self, outside: &Outside<'_>, error: &Error, note: impl Fn(String)) -> bool {
        let Some(wanted) = error.failure.beyond().filter(|_| self.model.get().is_none()) else { return false };
        let who = error.site.as_ref().map_or_else(|| "the build".to_owned(), ToString::to_string);
        match self.first.model_beside() {
            None => false,
            Some(Ok(beside)) => {
                note(format!("{who} wants {wanted}, which the rung `userns` cannot give: the build goes on with `--isolation single-id`"));
                if let Some(step) = &error.site {
                    turned::note(outside, step, &wanted);
                }
                self.model.set(beside).is_ok()
            }
            Some(Err(reason)) => {
                note(format!("{who} wants {wanted}, which the rung `userns` cannot give, and there is no better one: {reason}"));
                false
            }
        }
    }

    /// Builds everything in the plan. What the rung `userns` cannot give (devices, ids that the caller has not) makes the build begin anew on
    /// [`Rung::SingleId`], where [`IsolationChoice::Auto`] leaves that open.
    ///
    /// # Errors
    /// The first step that failed; steps that ran beside it are stopped.
    pub fn build(&self, plan: &Plan, outside: &Outside<'_>, options: &Options) -> Result<Built, Error> {
        let built = outside.task(TaskKind::Build, "build".to_owned(), |task| {
            let note = |message| outside.events.send(Event { task, kind: EventKind::Noted { message } });
            if self.model.get().is_none()
                && let Some(beside) = self.first.model()
                && let Some((stage, wanted)) = turned::noted(outside, plan)
                && self.model.set(beside).is_ok()
            {
                note(format!("the stage {stage} wants {wanted}, as before: the build begins with `--isolation single-id`"));
            }
            let mut built = self.attempt(plan, outside, options);
            for _ in 1..ATTEMPTS {
                match &built {
                    // What was damaged has been taken away, so it is a miss now and is made again.
                    Err(error) if error.failure.is_lost() && !outside.cancel.is_cancelled() => {
                        built = self.attempt(plan, outside, options);
                    }
                    Err(error) if !outside.cancel.is_cancelled() && self.turns_to_model(outside, error, note) => {
                        built = self.attempt(plan, outside, options);
                    }
                    Err(_) | Ok(_) => break,
                }
            }
            if let Some(rung) = self.workplace().rung() {
                outside.events.send(Event { task, kind: EventKind::Confined { rung: rung.name().to_owned() } });
            }
            built.map(|built| (built, Outcome::Done))
        });
        // Whatever a stopped step says of itself, it was the caller who stopped it.
        built.map_err(|error| if outside.cancel.is_cancelled() { Error::of(Failure::Cancelled) } else { error })
    }

    fn attempt(&self, plan: &Plan, outside: &Outside<'_>, options: &Options) -> Result<Built, Error> {
        // A failure stops what runs beside it, without cancelling what the caller may do next.
        let stop = outside.cancel.child();
        let caller = outside.cancel;
        let stopped = Outside { cancel: &stop, ..outside.clone() };
        let (mut run, jobs) = self.run(plan, &stopped, caller, options);
        // What goes to a shared cache is packed for it at once. One job at a time means that nothing else is done beside it.
        let (made, packs) = Queue::open(options.jobs.get() > 1 && !run.site.exports.is_open());
        run.made = made;
        export::beside(&run.site, outside, jobs, || {
            let result = run.steps(packs, &stop);
            run.export_bases();
            if result.is_ok() {
                run.export_mounts();
            }
            result
        })?;
        run.make_room();
        for stage in &options.unpacked {
            run.site.layers.bring_own(&run.sources.end(*stage)).map_err(Error::of)?;
        }
        let images = plan.images.iter().map(|image| run.seal(image)).collect::<Result<Vec<_>, Error>>()?;
        Ok(Built { images, stages: run.stages() })
    }

    /// Says why a step is not cached, or that it is. Looks at the steps before it too: the first that is not cached answers.
    ///
    /// # Errors
    /// When an input cannot be had.
    pub fn why(&self, plan: &Plan, outside: &Outside<'_>, options: &Options, wanted: StepId) -> Result<Explanation, Error> {
        let (run, _) = self.run(plan, outside, outside.cancel, options);
        for (index, stage) in plan.stages.iter().enumerate() {
            let id = StageId(index);
            run.begin(id, stage)?;
            for (number, step) in stage.steps.iter().enumerate() {
                let at = StepId { stage: id, step: number };
                let found = run.explain(at, stage, step).map_err(|failure| run.failed(at, failure))?;
                let explanation =
                    |key, reason| Explanation { stage: stage.name.clone(), number: number + 1, label: step.label.clone(), key, reason };
                match found {
                    Looked::Nothing if at == wanted => {
                        return Ok(explanation(Fingerprint::of(b""), Reason::NothingToDo));
                    }
                    Looked::Cached(key) if at == wanted => return Ok(explanation(key, Reason::Cached)),
                    Looked::Missed(key, reason) => return Ok(explanation(key, reason)),
                    Looked::Nothing | Looked::Cached(_) => {}
                }
            }
            run.end(id, stage);
        }
        Err(Error::of(Failure::Lost(super::Lost::Nothing)))
    }

    /// The file system at the end of a stage that was built, with a way to the bytes of its files.
    ///
    /// # Errors
    /// When the store has lost it.
    pub fn with_tree<T>(
        &self,
        plan: &Plan,
        outside: &Outside<'_>,
        options: &Options,
        stage: &BuiltStage,
        work: impl FnOnce(&Tree, &dyn Contents) -> T,
    ) -> Result<T, Error> {
        self.with_state(plan, outside, options, stage, |site, state| {
            let tree = site.layers.tree(state).map_err(Error::of)?;
            Ok(work(&tree, &site.layers.contents(state)))
        })
    }

    /// The state at the end of a stage that was built, with the handles to use it.
    pub(super) fn with_state<T>(
        &self,
        plan: &Plan,
        outside: &Outside<'_>,
        options: &Options,
        stage: &BuiltStage,
        work: impl FnOnce(&Site<'_>, &State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (run, _) = self.run(plan, outside, outside.cancel, options);
        for (index, stage) in plan.stages.iter().enumerate() {
            run.begin(StageId(index), stage)?;
        }
        work(&run.site, &stage.state)
    }

    /// On which rung commands are run; `None` while none had to be.
    #[must_use]
    pub fn rung(&self) -> Option<Rung> {
        self.workplace().rung()
    }

    /// Opens a directory with the hands that can give files to the owners an image names.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_directory(&self, path: &Path) -> Result<Arc<dyn DirectoryHandle>, DiskError> {
        // Root's own hands make files whose inodes say whom they belong to, on whichever rung commands run.
        let workplace = if self.first.has_root_hands() { &self.first } else { self.workplace() };
        workplace.open_fresh(path)
    }

    /// What removes directories of the store, whoever owns the files in them.
    #[must_use]
    pub fn remover(&self) -> &dyn RemoveTree {
        self
    }

    /// The handles of one build. `caller` is what the caller may stop, and not what a failure beside it stops. Nothing is exported.
    pub(super) fn site<'e>(
        &'e self,
        outside: &'e Outside<'e>,
        caller: &'e Cancel,
        options: &'e Options,
        unpack: Unpack,
        epoch: i64,
    ) -> Site<'e> {
        let elsewhere = options.shared.as_deref().and_then(|shared| Elsewhere::new(shared, outside));
        Site {
            outside,
            caller,
            workplace: self.workplace(),
            layers: Layers::new(outside, self.workplace(), unpack, elsewhere, options.jobs),
            exports: Queue::none(),
            mounts: Mounts::default(),
            roots: PrivateRoots::default(),
            repositories: Repositories::default(),
            secrets: &options.secrets,
            agents: &options.agents,
            proxies: &options.proxies,
            on_failure: options.on_failure.as_ref(),
            epoch,
            threads: options.jobs,
            send_ahead: options.send_ahead.as_deref(),
        }
    }

    fn run<'e>(
        &'e self,
        plan: &'e Plan,
        outside: &'e Outside<'e>,
        caller: &'e Cancel,
        options: &'e Options,
    ) -> (Run<'e>, Option<Receiver<Job>>) {
        let needs = Needs::of(plan, &options.unpacked);
        let site = self.site(outside, caller, options, needs.unpack(), plan.epoch);
        let (exports, jobs) = Queue::open(site.layers.elsewhere().is_some_and(|elsewhere| elsewhere.shared.is_written()));
        let run = Run {
            site: Site { exports, ..site },
            plan,
            options,
            needs,
            sources: Sources::new(plan),
            begun: Mutex::default(),
            ended: Mutex::default(),
            cames: Mutex::default(),
            made: Queue::none(),
            actions: Once::default(),
        };
        (run, jobs)
    }
}

impl RemoveTree for Engine {
    fn remove_tree(&self, path: &Path) -> std::io::Result<()> {
        // What was made before the build turned belongs to other ids.
        self.first.remove_tree(path).or_else(|error| self.model.get().map_or(Err(error), |model| model.remove_tree(path)))
    }
}

/// When the work of a step is done although there is a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Anew {
    Never,
    /// Where the record is older.
    After(Duration),
    Always,
}

/// What looking for a step's record came to.
enum Looked {
    Nothing,
    Cached(Fingerprint),
    Missed(Fingerprint, Reason),
}

impl Run<'_> {
    /// Does all parts of all stages, and packs beside them the layers that they make for images. `stop` is stopped when something failed.
    fn steps(&self, packs: Option<Receiver<(StepId, State)>>, stop: &Cancel) -> Result<(), Error> {
        let failed = Mutex::new(None);
        let pack = |(at, state): (StepId, State)| {
            let Some(image) = self.needs.step(at).image.filter(|_| !stop.is_cancelled()) else { return };
            if let Err(failure) = assemble::pack_early(&self.site, image, &state)
                && !stop.is_cancelled()
            {
                *guard(&failed) = Some(self.failed(at, failure));
                stop.cancel();
            }
        };
        let result = queue::beside(&self.made, packs, 1, pack, || {
            schedule::run(&needs(self.plan), self.options.jobs, |node| self.node(*node), || stop.cancel())
        });
        match result {
            // What was stopped fails otherwise. While somebody looked around in its root, packing went on.
            Err(error) if error.failure.is_of_a_command() => Err(error),
            result @ (Ok(()) | Err(_)) => failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(result, Err),
        }
    }

    fn node(&self, node: Node) -> Result<(), Error> {
        let of = |id: StageId| self.plan.stages.get(id.0);
        match node {
            Node::Part(id, Part::Base) => of(id).map_or(Ok(()), |stage| self.begin(id, stage)),
            Node::Part(id, Part::Step(number)) => {
                let at = StepId { stage: id, step: number };
                match of(id).and_then(|stage| Some((stage, stage.steps.get(number)?))) {
                    Some((stage, step)) => self.step(at, stage, step).map_err(|failure| self.failed(at, failure)),
                    None => Ok(()),
                }
            }
            Node::Part(id, Part::End) => {
                of(id).into_iter().for_each(|stage| self.end(id, stage));
                Ok(())
            }
            Node::Unpack(at) => match of(at.stage) {
                Some(stage) => self.unpack_early(at, stage).map_err(|failure| self.failed(at, failure)),
                None => Ok(()),
            },
        }
    }

    /// Finds the state that a stage starts from.
    fn begin(&self, id: StageId, stage: &Stage) -> Result<(), Error> {
        let begun = match &stage.base {
            Base::Scratch => Ended::default(),
            Base::Stage(base) => guard(&self.ended).get(base).cloned().unwrap_or_default(),
            Base::Image(image) => {
                let at_base = |failure| {
                    Error::at(
                        Some(FailedStep { stage: stage.name.clone(), number: 0, label: "from".to_owned(), span: stage.base_span }),
                        failure,
                    )
                };
                let state = self.sources.base(&self.site, image).map_err(at_base)?;
                let history = match &image.source {
                    ImageSource::Tar { path } => assemble::imported(path),
                    ImageSource::Registry(_) | ImageSource::Layout { .. } => {
                        self.site.outside.open_base(image).map_err(|error| at_base(error.into()))?.config.history
                    }
                };
                Ended { state, history }
            }
        };
        // The base is remembered as the step before the first.
        self.cames().insert(before(id), came(begun.state.clone()));
        guard(&self.begun).insert(id, begun);
        Ok(())
    }

    /// Unpacks a base of which something is not known yet, for a command that waits for other stages. Not where the command is done, or may be
    /// in the cache.
    fn unpack_early(&self, at: StepId, stage: &Stage) -> Result<(), Failure> {
        let site = &self.site;
        let base = self.below(StepId { step: 0, ..at });
        let runs = || match self.is_fresh(stage) {
            true => Ok(true),
            false => explain::was_never_asked(site.outside.store, &stage.name, at.step),
        };
        let is_done = self.cames().contains_key(&at);
        if !is_done && site.layers.is_new(&base)? && runs()? && site.workplace.isolation().is_ok() {
            // Whoever needs it says why it cannot be had: in another place, the same command may be in the cache after all.
            let _ = site.layers.tree(&base);
        }
        Ok(())
    }

    /// Puts a stage's steps and those of what it stands on together.
    fn end(&self, id: StageId, stage: &Stage) {
        let cames = self.cames();
        let mut ended = guard(&self.begun).get(&id).cloned().unwrap_or_default();
        for (number, step) in stage.steps.iter().enumerate() {
            if let Some(came) = cames.get(&StepId { stage: id, step: number }) {
                ended.state = came.state.clone();
                ended.history.push(assemble::history(step, came));
            }
        }
        drop(cames);
        self.sources.ended(id, ended.state.clone());
        guard(&self.ended).insert(id, ended);
    }

    fn step(&self, at: StepId, stage: &Stage, step: &Step) -> Result<(), Failure> {
        let below = self.below(at);
        if self.site.outside.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let Some(action) = execute::action(&self.site, &self.sources, step, &stage.platform, &below)? else {
            self.cames().insert(at, came(below));
            return Ok(());
        };
        let key = action.preimage.key();
        let label = format!("{} {}/{} {}", stage.name, at.step + 1, stage.steps.len(), step.label);
        let anew = if self.is_fresh(stage) { Anew::Always } else { action.refresh().map_or(Anew::Never, Anew::After) };
        let came = self.actions.get(&(key, anew), || self.answer(at, stage, &action, label))?;
        self.cames().insert(at, came);
        Ok(())
    }

    fn answer(&self, at: StepId, stage: &Stage, action: &Action<'_>, label: String) -> Result<Came, Failure> {
        let outside = self.site.outside;
        let shown = label.clone();
        outside.task(TaskKind::Step, label, |task| {
            let confined = |came: &Came| {
                if let Some(rung) = came.rung.clone() {
                    outside.events.send(Event { task, kind: EventKind::Confined { rung } });
                }
            };
            if outside.cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            if !self.is_fresh(stage)
                && let Some(came) = action.lookup(&self.site)?
            {
                explain::remember(outside.store, &stage.name, at.step, &action.preimage.key())?;
                confined(&came);
                action.export(&self.site, &came, self.needs.step(at));
                return Ok((came, Outcome::Cached));
            }
            let came = action.work(&self.site, (task, &shown), self.needs.step(at))?;
            confined(&came);
            explain::remember(outside.store, &stage.name, at.step, &action.preimage.key())?;
            if came.layer.is_some() {
                self.made.send((at, came.state.clone()));
            }
            action.export(&self.site, &came, self.needs.step(at));
            Ok((came, Outcome::Done))
        })
    }

    /// Offers what is in the layers of bases to others.
    fn export_bases(&self) {
        for state in self.sources.opened() {
            self.site.exports.send(Job::Base { state });
        }
    }

    /// Offers what is in the directories of `cache` mounts to others. Of a build that fails that would only delay the message.
    fn export_mounts(&self) {
        self.site.mounts.take_used().for_each(|used| self.site.exports.send(Job::Mount { used: Box::new(used) }));
    }

    /// Removes some of what is too old in shared caches.
    fn make_room(&self) {
        if let Some(elsewhere) = self.site.layers.elsewhere() {
            let near = guard(&self.ended).values().map(|ended| ended.state.name()).next();
            elsewhere.shared.make_room(elsewhere.desk(), &near.unwrap_or_else(|| Fingerprint::of(b"")));
        }
    }

    fn explain(&self, at: StepId, stage: &Stage, step: &Step) -> Result<Looked, Failure> {
        let below = self.below(at);
        let Some(action) = execute::action(&self.site, &self.sources, step, &stage.platform, &below)? else {
            self.cames().insert(at, came(below));
            return Ok(Looked::Nothing);
        };
        let key = action.preimage.key();
        match action.lookup(&self.site)? {
            Some(came) => {
                self.cames().insert(at, came);
                Ok(Looked::Cached(key))
            }
            None => {
                action.remember_selection(&self.site)?;
                Ok(Looked::Missed(key, explain::reason(self.site.outside.store, &stage.name, at.step, &action.preimage)?))
            }
        }
    }

    fn is_fresh(&self, stage: &Stage) -> bool {
        match &self.options.fresh {
            Fresh::Nothing => false,
            Fresh::Stages(stages) => stages.contains(&stage.name),
            Fresh::Everything => true,
        }
    }

    fn below(&self, at: StepId) -> State {
        let before = match at.step.checked_sub(1) {
            Some(step) => StepId { step, ..at },
            None => before(at.stage),
        };
        self.cames().get(&before).map(|came| came.state.clone()).unwrap_or_default()
    }

    fn seal(&self, image: &Image) -> Result<BuiltImage, Error> {
        let failed = Error::of;
        let ended = guard(&self.ended).get(&image.stage).cloned().unwrap_or_default();
        let created = rfc3339(self.options.created.unwrap_or(self.plan.epoch)).map_err(failed)?;
        let sealed = assemble::seal(&self.site, image, &ended, &created).map_err(failed)?;
        let built = BuiltImage { image: image.clone(), sealed };
        listing::remember(self.site.outside.store, &built).map_err(failed)?;
        Ok(built)
    }

    fn stages(&self) -> Vec<BuiltStage> {
        let cames = self.cames();
        let report = |(index, stage): (usize, &Stage)| {
            let steps = stage.steps.iter().enumerate().filter_map(|(number, step)| {
                let came = cames.get(&StepId { stage: StageId(index), step: number })?;
                let real = !matches!(step.kind, StepKind::Setting);
                real.then(|| StepReport {
                    label: step.label.clone(),
                    cached: came.answered == Answered::Cached,
                    rung: came.rung.clone(),
                    shareable: came.is_shareable(),
                })
            });
            BuiltStage { name: stage.name.clone(), steps: steps.collect(), state: self.sources.end(StageId(index)) }
        };
        self.plan.stages.iter().enumerate().map(report).collect()
    }

    fn failed(&self, at: StepId, failure: Failure) -> Error {
        let stage = self.plan.stages.get(at.stage.0);
        let step = stage.and_then(|stage| stage.steps.get(at.step));
        let site = stage.zip(step).map(|(stage, step)| FailedStep {
            stage: stage.name.clone(),
            number: at.step + 1,
            label: step.label.clone(),
            span: step.span,
        });
        Error::at(site, failure)
    }

    fn cames(&self) -> MutexGuard<'_, BTreeMap<StepId, Came>> {
        guard(&self.cames)
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place before a stage's first step.
fn before(stage: StageId) -> StepId {
    StepId { stage, step: usize::MAX }
}

fn came(state: State) -> Came {
    Came { state, layer: None, answered: Answered::Nothing, rung: None, made: None }
}

/// RFC 3339 in UTC, whole seconds.
fn rfc3339(seconds: i64) -> Result<String, Failure> {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).map_err(|_| Failure::Time { seconds })
}
