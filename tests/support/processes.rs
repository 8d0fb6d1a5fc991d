//! Finding the processes that a test started, wherever they went, and no others of this machine.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many seconds that no other test sleeps for, neither of this run nor of another one beside it.
pub(crate) fn mark() -> String {
    static MARKS: AtomicU32 = AtomicU32::new(0);
    format!("98{}.{}", std::process::id(), MARKS.fetch_add(1, Ordering::SeqCst))
}

/// The command lines of all processes that have this word among their arguments.
pub(crate) fn with_argument(word: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let found = lines.filter(|line| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes()));
    found.map(|line| String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ")).collect()
}

/// Whether any process has this word among its arguments.
pub(crate) fn is_running(word: &str) -> bool {
    !with_argument(word).is_empty()
}

/// Whether any process has this directory, or what is below it, for its root, for its working directory, or open.
pub(crate) fn is_held(directory: &Path) -> bool {
    let own = std::process::id().to_string();
    let others = std::fs::read_dir("/proc").unwrap().flatten().filter(|process| process.file_name() != own.as_str());
    others.into_iter().any(|process| {
        let open = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        let held = open.chain(["root", "cwd"].map(|link| process.path().join(link)));
        held.filter_map(|link| std::fs::read_link(link).ok()).any(|path| path.starts_with(directory))
    })
}
