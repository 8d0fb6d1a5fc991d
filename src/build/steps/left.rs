//! What a command that failed has left: its root, its job and what it is made of in; more commands in the same place out.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use super::ground::Ground;
use super::specials;
use crate::build::Failure;
use crate::build::site::Site;
use crate::build::state::State;
use crate::plan::Run;
use crate::sandbox::{Beyond, Console, Exit, Finished, Isolation, Job, Rung, Sandbox as _, Signals};
use crate::tree::{LastLink, Node, Tree};

/// The shells that people like, the best first.
const SHELLS: [&str; 4] = ["/bin/bash", "/bin/ash", "/bin/sh", "/busybox/sh"];

/// What a command has left.
pub(in crate::build) struct Left<'l> {
    site: &'l Site<'l>,
    run: &'l Run,
    shown: &'l BTreeMap<String, State>,
    isolation: &'l Isolation,
    job: &'l Job,
    ground: &'l Ground,
    below: &'l Arc<Tree>,
    finished: Option<&'l Finished>,
    visits: Cell<u32>,
}

impl<'l> Left<'l> {
    /// `finished` is missing where the command did not start.
    pub(super) fn new(
        site: &'l Site<'l>,
        run: &'l Run,
        shown: &'l BTreeMap<String, State>,
        (isolation, job): (&'l Isolation, &'l Job),
        (ground, below): (&'l Ground, &'l Arc<Tree>),
        finished: Option<&'l Finished>,
    ) -> Left<'l> {
        Left { site, run, shown, isolation, job, ground, below, finished, visits: Cell::new(0) }
    }

    pub(in crate::build) fn argv(&self) -> &[OsString] {
        &self.job.argv
    }

    pub(in crate::build) fn workdir(&self) -> String {
        String::from_utf8_lossy(&self.job.workdir).into_owned()
    }

    pub(in crate::build) const fn user(&self) -> (u32, u32) {
        (self.job.user.uid, self.job.user.gid)
    }

    /// A shell of the state below: what the command itself has made of it is not trusted to work.
    pub(in crate::build) fn shell(&self) -> Option<&'static str> {
        let is_there = |shell: &&str| {
            let at = self.below.resolve(shell.as_bytes(), LastLink::Follow).ok()?;
            matches!(self.below.get(&at)?, Node::File(_)).then_some(())
        };
        SHELLS.into_iter().find(|shell| is_there(shell).is_some())
    }

    /// Runs a command in the same place.
    pub(in crate::build) fn run(
        &self,
        argv: &[&str],
        env: &[(&str, OsString)],
        console: Console<'_>,
        signals: &Signals,
    ) -> Result<Exit, Failure> {
        self.visits.set(self.visits.get() + 1);
        let again = self.ground.again(self.site, self.below, self.finished, self.visits.get())?;
        let mut job = self.job.clone();
        (job.lowers, job.upper) = again.root;
        job.argv = argv.iter().map(OsString::from).collect();
        job.time_limit = None;
        job.beyond = Beyond::Refused;
        for (name, value) in env {
            job.env.retain(|(known, _)| known != name);
            job.env.push((OsString::from(name), value.clone()));
        }
        let workdir = self.below.resolve(&job.workdir, LastLink::Follow).ok().and_then(|at| self.below.get(&at));
        if self.finished.is_none() && !matches!(workdir, Some(Node::Directory(_))) {
            // That it is not there may be what is to be looked at.
            job.workdir = b"/".to_vec();
        }
        if let (Rung::SingleId, Some(above)) = (self.isolation.rung(), &again.above) {
            job.specials = specials::of_step(self.site, self.run, above, self.shown)?;
        }
        Ok(self.isolation.attach(&job, console, signals, self.site.caller)?.exit)
    }
}
