//! Child processes: this very test binary, started again with the name of the program that the child is.
//!
//! A child reads its arguments from standard input, one per line, and answers with lines that begin with `SAYS`.

use std::io::{BufRead, BufReader, Lines, StdinLock, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SAYS: &str = "child: ";

/// The variable that tells a child which program it is.
const PROGRAM: &str = "LAPSTRAKE_CACHE_TEST_PROGRAM";

/// What a child can be.
const PROGRAMS: [(&str, fn()); 7] = [
    ("users::keep_what_belongs_to_another", crate::users::keep_what_belongs_to_another),
    ("users::open", crate::users::open),
    ("users::remove_read_only", crate::users::remove_read_only),
    ("collection::use_and_wait", crate::collection::use_and_wait),
    ("crash::write", crate::crash::write),
    ("store::put_the_same", crate::store::put_the_same),
    ("tidy::put_and_wait", crate::tidy::put_and_wait),
];

/// As long as this is held, no child is between fork and exec, where it has every open file of this process and with it the
/// blocks of what was removed (a full disk stays full) and the right to write (a binary cannot be started).
pub(crate) fn no_forks() -> MutexGuard<'static, ()> {
    static FORKS: Mutex<()> = Mutex::new(());
    FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts the program of that name (`module::test`) from this binary.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Process {
        Process::start_as(program, arguments, &std::env::current_exe().unwrap(), None)
    }

    /// As `start`, from a copy of this binary and with another user and group id.
    #[expect(clippy::disallowed_methods, reason = "these tests are about several processes")]
    pub(crate) fn start_as(program: &str, arguments: &[&str], binary: &Path, id: Option<u32>) -> Process {
        let mut command = Command::new(binary);
        command.args(["--exact", "child::a_child_runs_its_program", "--nocapture", "--quiet"]).env(PROGRAM, program);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(id) = id {
            use std::os::unix::process::CommandExt;
            command.uid(id).gid(id);
        }
        let mut child = {
            let _alone = no_forks();
            command.spawn().unwrap()
        };
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Process { child, input, output };
        for argument in arguments {
            process.tell(argument);
        }
        process
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The next line that the child says; `None` when it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let line = self.output.next()?.unwrap();
            // The last line of a killed child may be cut; it then lacks its end mark.
            if let Some(said) = line.strip_prefix(SAYS).and_then(|said| said.strip_suffix(" .")) {
                return Some(said.to_owned());
            }
        }
    }

    /// Kills the child as the kernel kills, and hears what it had still said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.hear()).collect()
    }

    /// Closes the child's input and waits for its good end.
    pub(crate) fn finish(mut self) -> Vec<String> {
        drop(self.input);
        let said = (&mut self.output).collect::<Result<Vec<_>, _>>().unwrap();
        assert!(self.child.wait().unwrap().success(), "{said:?}");
        said.iter().filter_map(|line| line.strip_prefix(SAYS)?.strip_suffix(" .")).map(str::to_owned).collect()
    }
}

/// What the child's program reads its arguments from.
pub(crate) fn input() -> Lines<StdinLock<'static>> {
    std::io::stdin().lines()
}

/// What the child's program answers with.
pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // One write, so that a kill cuts at most the last line.
    output.write_all(format!("\n{SAYS}{line} .\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// In the process that runs all tests there is no program, and the list is what is tested.
#[test]
#[expect(clippy::disallowed_methods, reason = "a child learns from its environment what it is")]
fn a_child_runs_its_program() {
    match std::env::var(PROGRAM) {
        Ok(name) => {
            let (_, program) = PROGRAMS.iter().find(|(known, _)| *known == name).unwrap();
            program();
        }
        Err(_) => {
            let names: std::collections::BTreeSet<_> = PROGRAMS.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), PROGRAMS.len(), "each program has a name of its own");
        }
    }
}
