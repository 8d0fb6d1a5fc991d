//! The same build on each rung that this machine can show.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Lab, PROGRAM, Ran, USER, as_root, make_user};
use crate::single_id::{ALONE, make_user_alone};

/// A rung, and who climbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// `userns` as real root.
    Root,
    /// `userns` as an ordinary user with ranges of ids.
    User,
    /// `single-id` as an ordinary user without.
    Alone,
    /// `chroot` as real root.
    Chroot,
}

impl Rung {
    pub(crate) const ALL: [Rung; 4] = [Rung::Root, Rung::User, Rung::Alone, Rung::Chroot];
    /// Those with namespaces.
    pub(crate) const SEPARATE: [Rung; 3] = [Rung::Root, Rung::User, Rung::Alone];

    pub(crate) fn option(self) -> &'static str {
        match self {
            Rung::Root | Rung::User => "userns",
            Rung::Alone => "single-id",
            Rung::Chroot => "chroot",
        }
    }

    /// The user that builds, where it is not root.
    fn user(self) -> Option<&'static str> {
        match self {
            Rung::Root | Rung::Chroot => None,
            Rung::User => Some(USER),
            Rung::Alone => Some(ALONE),
        }
    }

    /// Makes the lab the builder's own. What is put there later is root's.
    pub(crate) fn hand_over(self, lab: &Lab) {
        match self {
            Rung::Root | Rung::Chroot => return,
            Rung::User => make_user(),
            Rung::Alone => make_user_alone(),
        }
        if let Some(user) = self.user() {
            as_root("chown", &["-R", user, lab.path("").to_str().unwrap()]);
        }
    }

    /// The program, run by whoever climbs this rung.
    pub(crate) fn command(self, lab: &Lab, arguments: &[&str]) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        match self.user() {
            None => words.push(PROGRAM.into()),
            Some(user) => {
                words.extend(["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"].map(OsString::from));
                words.push(program_for_all(lab).into());
            }
        }
        words.extend(arguments.iter().map(OsString::from));
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).env_clear().envs(lab.environment());
            command
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "env", "-i"]);
            for (name, value) in lab.environment() {
                command.arg(format!("{name}={}", value.display()));
            }
            command.args(&words);
            command
        };
        command.current_dir(lab.path("")).stdin(std::process::Stdio::null());
        command
    }

    /// Builds a project on this rung.
    pub(crate) fn build(self, lab: &Lab, project: &Path, arguments: &[&str]) -> Ran {
        self.hand_over(lab);
        let common = ["build", project.to_str().unwrap(), "--isolation", self.option(), "--progress", "plain"];
        let ran = Ran::of(&mut self.command(lab, &[&common, arguments].concat()));
        if self.user().is_some() && lab.store().exists() {
            // What belongs to ids of a range is in the way of whoever removes the lab.
            as_root("chmod", &["-R", "u+rwX", lab.store().to_str().unwrap()]);
        }
        ran
    }
}

/// The program where every user may start it.
fn program_for_all(lab: &Lab) -> PathBuf {
    let program = lab.path("lapstrake");
    if !program.exists() {
        std::fs::copy(PROGRAM, &program).unwrap();
        crate::programs::make_startable(&program);
    }
    program
}

/// A project of one stage on busybox, with these lines for it.
pub(crate) fn project(lab: &Lab, stage: &str) -> PathBuf {
    lab.project(&format!("spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n{stage}\n[images.web]\nstage = \"app\"\n"), &[])
}

/// What the commands of a build wrote, line by line, in order.
pub(crate) fn said(ran: &Ran) -> Vec<&str> {
    let own = |line: &'_ str| -> Option<usize> {
        let number = line.strip_prefix('#')?.trim_start_matches(|character: char| character.is_ascii_digit());
        number.starts_with(" | ").then(|| line.len() - number.len() + 3)
    };
    ran.err.lines().filter_map(|line| Some(&line[own(line)?..])).collect()
}
