//! How `git` is run: what the machine's settings say, as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::logins::GitLogins;
use crate::registry::{Host, Proxies};

/// How long `git` may be silent where nothing else is said.
const SILENCE: Duration = Duration::from_secs(300);

/// How `git` is run. The default looks for it nowhere.
#[derive(Debug, Clone)]
pub struct GitSettings {
    /// The directories in which `git` and what it needs are looked for, as in `PATH`. Relative ones do not count.
    pub search_path: OsString,
    /// Through whom it speaks http and https.
    pub proxies: Proxies,
    /// What counts for one host alone: authorities, and who we are. By host, with a port if need be.
    pub hosts: BTreeMap<String, Host>,
    /// The socket of the agent that has the keys for `ssh`. `None` means that there are no keys.
    pub agent: Option<PathBuf>,
    /// Who we are over https.
    pub logins: GitLogins,
    /// How long nothing may come from it before it is given up.
    pub silence: Duration,
    /// The most that a repository may hold.
    pub limits: GitLimits,
}

/// The most that a repository may hold at a commit, submodules included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GitLimits {
    /// Files, links and directories.
    pub entries: usize,
    /// The bytes of all files.
    pub bytes: u64,
    /// How deep submodules may lie in submodules.
    pub depth: usize,
}

impl GitLimits {
    /// More than any repository that is meant to be built from: two million entries, 64 GiB, eight levels of submodules.
    pub const GENEROUS: GitLimits = GitLimits { entries: 2_000_000, bytes: 64 << 30, depth: 8 };
}

impl Default for GitSettings {
    fn default() -> GitSettings {
        GitSettings {
            search_path: OsString::new(),
            proxies: Proxies::default(),
            hosts: BTreeMap::new(),
            agent: None,
            logins: GitLogins::default(),
            silence: SILENCE,
            limits: GitLimits::GENEROUS,
        }
    }
}
