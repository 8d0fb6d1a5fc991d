//! Steps whose inputs are all known → pre-images of keys.
//!
//! Every struct of the plan is taken apart without `..`, so that a new field does not compile until somebody decides whether it is in
//! the key. What cannot change the result is bound to a name that says so.

use std::collections::BTreeMap;

use lapstrake_cache::Fingerprint;

use super::preimage::{Preimage, Value};
use crate::image::Platform;
use crate::plan::{
    Access, CacheAccess, Copy, Download, Extract, Fetch, Git, GitDirectory, Link, LinkKind, MakeDirectory, Missing, ModeRule, Mount,
    MountKind, Network, Newlines, Remove, Run, Sharing, Submodules, Write,
};

/// What every step's result depends on.
pub(super) struct Surroundings<'a> {
    /// The name of the state below.
    pub(super) below: Fingerprint,
    /// What the step is run for.
    pub(super) platform: &'a Platform,
    /// The time of everything that is made.
    pub(super) epoch: i64,
}

impl Surroundings<'_> {
    fn begin(&self, kind: &str, revision: u32) -> Preimage {
        let Surroundings { below, platform, epoch } = self;
        Preimage::new(kind, revision)
            .with("below", Value::Fingerprint(*below))
            .with("platform", Value::text(&platform.to_string()))
            .with("epoch", Value::Number(*epoch))
    }

    /// A command. `mounted` has the fingerprint of what each mount shows or begins with, by place.
    pub(super) fn run(&self, run: &Run, mounted: &BTreeMap<String, Fingerprint>) -> Preimage {
        let Run { argv, env, workdir, user, network, mounts, discard, timeout: _inert_timeout, refresh: _looked_at_beside_the_key } = run;
        let env = env.iter().map(|(name, value)| (name.clone(), Value::text(value))).collect();
        self.begin("run", 1)
            .with("argv", Value::texts(argv))
            .with("env", Value::Map(env))
            .with("workdir", Value::text(workdir))
            .with("user", Value::text(user))
            .with(
                "network",
                Value::text(match network {
                    Network::Off => "off",
                    Network::Host => "host",
                }),
            )
            .with("mounts", Value::List(mounts.iter().map(|mount| mount_value(mount, mounted)).collect()))
            .with("discard", Value::texts(discard))
    }

    /// A copy. `selected` names the files that are copied, in the form in which they arrive.
    pub(super) fn copy(&self, copy: &Copy, selected: Fingerprint) -> Preimage {
        let Copy {
            from: _inert_since_the_files_are_named,
            sources: _likewise,
            mode,
            exclude: _likewise_since_what_is_left_out_is_not_named,
            to,
            owner,
            parents,
            unpack,
            newlines,
            missing: _inert_since_what_is_missing_is_not_named,
        } = copy;
        self.begin("copy", if *unpack { 3 } else { 2 })
            .with("files", Value::Fingerprint(selected))
            .with("to", Value::text(to))
            .with("owner", Value::optional(owner.as_deref()))
            .with("parents", Value::Number(i64::from(*parents)))
            .with(
                "newlines",
                Value::text(match newlines {
                    Newlines::Keep => "keep",
                    Newlines::Lf => "lf",
                }),
            )
            // In an archive, files do not arrive as they are named; which modes they have there is the third revision.
            .with_any("unpack", if *unpack { mode_value(mode) } else { Value::Absent })
    }

    /// Files of a git repository, which its commit names.
    pub(super) fn git(&self, copy: &Copy, git: &Git) -> Preimage {
        let Copy {
            from: _named_by_the_commit,
            missing: _inert_since_the_commit_decides_what_is_there,
            sources,
            to,
            owner,
            mode,
            exclude,
            parents,
            unpack,
            newlines,
        } = copy;
        let Git { url: _inert_since_the_commit_is_named, reference: _likewise, commit, submodules, git_directory } = git;
        self.begin("fetch git", 1)
            .with("commit", Value::text(commit.as_str()))
            .with(
                "submodules",
                Value::text(match submodules {
                    Submodules::Fetched => "fetched",
                    Submodules::Empty => "empty",
                }),
            )
            .with(
                ".git",
                Value::text(match git_directory {
                    GitDirectory::Kept => "kept",
                    GitDirectory::Dropped => "dropped",
                }),
            )
            .with("paths", Value::texts(sources))
            .with("exclude", Value::texts(exclude))
            .with("mode", mode_value(mode))
            .with("to", Value::text(to))
            .with("owner", Value::optional(owner.as_deref()))
            .with("parents", Value::Number(i64::from(*parents)))
            .with("unpack", Value::Number(i64::from(*unpack)))
            .with(
                "newlines",
                Value::text(match newlines {
                    Newlines::Keep => "keep",
                    Newlines::Lf => "lf",
                }),
            )
    }

    /// A file whose bytes stand in the spec.
    pub(super) fn write(&self, write: &Write) -> Preimage {
        let Write { path, content, owner, mode, name } = write;
        self.begin("write", 1)
            .with("path", Value::text(path))
            .with("content", Value::Bytes(content.clone()))
            .with("owner", Value::optional(owner.as_deref()))
            .with("mode", Value::Number(i64::from(*mode)))
            .with_any("name", Value::optional(name.as_deref()))
    }

    /// Directories.
    pub(super) fn make_directory(&self, make: &MakeDirectory) -> Preimage {
        let MakeDirectory { paths, owner, owner_of_new, mode } = make;
        self.begin("mkdir", 1)
            .with("paths", Value::texts(paths))
            .with("owner", Value::optional(owner.as_deref()))
            .with("mode", mode.map_or(Value::Absent, |mode| Value::Number(i64::from(mode))))
            .with_any("owner of new ones", Value::optional(owner_of_new.as_deref()))
    }

    /// A link.
    pub(super) fn link(&self, link: &Link) -> Preimage {
        let Link { path, target, kind } = link;
        self.begin("link", 1).with("path", Value::text(path)).with("target", Value::text(target)).with(
            "kind",
            Value::text(match kind {
                LinkKind::Symbolic => "symbolic",
                LinkKind::Hard => "hard",
            }),
        )
    }

    /// A removal.
    pub(super) fn remove(&self, remove: &Remove) -> Preimage {
        let Remove { paths, missing } = remove;
        self.begin("remove", 1).with("paths", Value::texts(paths)).with(
            "missing",
            Value::text(match missing {
                Missing::Fail => "fail",
                Missing::Ignore => "ignore",
            }),
        )
    }

    /// An archive. `archive` names its bytes.
    pub(super) fn extract(&self, extract: &Extract, archive: Value) -> Preimage {
        let Extract { from: _inert_since_the_bytes_are_named, to, strip, owner, mode } = extract;
        self.begin("extract", 1)
            .with("archive", archive)
            .with("to", Value::text(to))
            .with("strip", Value::Number(i64::from(*strip)))
            .with("owner", Value::optional(owner.as_deref()))
            .with("mode", mode_value(mode))
    }

    /// A download.
    pub(super) fn fetch(&self, fetch: &Fetch) -> Preimage {
        let Fetch { download, to, owner, mode } = fetch;
        self.begin("fetch", 1)
            .with("download", download_value(download))
            .with("to", Value::text(to))
            .with("owner", Value::optional(owner.as_deref()))
            .with("mode", Value::Number(i64::from(*mode)))
    }
}

fn download_value(download: &Download) -> Value {
    // The last name of the URL can be the name of the file.
    let Download { url, digest } = download;
    Value::map([("url", Value::text(url)), ("digest", Value::text(&digest.to_string()))])
}

/// What becomes of modes.
pub(super) fn mode_value(mode: &ModeRule) -> Value {
    match mode {
        ModeRule::Normal => Value::text("normal"),
        ModeRule::Keep => Value::text("keep"),
        ModeRule::Set(bits) => Value::Number(i64::from(*bits)),
        ModeRule::Exactly(bits) => Value::map([("exactly", Value::Number(i64::from(*bits)))]),
        ModeRule::Symbolic(changes) => Value::map([("changes", Value::text(&changes.to_string()))]),
    }
}

fn mount_value(mount: &Mount, mounted: &BTreeMap<String, Fingerprint>) -> Value {
    let Mount { at, span: _inert_span, kind } = mount;
    let number = |number: &Option<u16>| number.map_or(Value::Absent, |number| Value::Number(i64::from(number)));
    let kind = match kind {
        // What a cache holds is no input: a step must work with one as it is when it is made.
        MountKind::Cache { id, sharing, owner, mode, first, access } => Value::map([
            ("cache", Value::text(id)),
            (
                "sharing",
                Value::text(match sharing {
                    Sharing::Shared => "shared",
                    Sharing::Private => "private",
                    Sharing::Locked => "locked",
                }),
            ),
            ("owner", Value::optional(owner.as_deref())),
            ("mode", number(mode)),
        ])
        .with_any("first", first.as_ref().and_then(|_| mounted.get(at)).map_or(Value::Absent, |files| Value::Fingerprint(*files)))
        .with_any(
            "access",
            match access {
                CacheAccess::Kept => Value::Absent,
                CacheAccess::ReadOnly => Value::text("read-only"),
            },
        ),
        MountKind::From { source: _inert_since_the_files_are_named, path: _likewise, access } => Value::map([
            ("from", mounted.get(at).map_or(Value::Absent, |files| Value::Fingerprint(*files))),
            (
                "access",
                Value::text(match access {
                    Access::ReadOnly => "read-only",
                    Access::Discarded => "discarded",
                }),
            ),
        ]),
        // The value of a secret is inert: a rotated token is no new input.
        MountKind::Secret { id, owner, mode, required } => Value::map([
            ("secret", Value::text(id)),
            ("owner", Value::optional(owner.as_deref())),
            ("mode", Value::Number(i64::from(*mode))),
            ("required", Value::Number(i64::from(*required))),
        ]),
        MountKind::SecretEnv { id, required } => {
            Value::map([("secret-variable", Value::text(id)), ("required", Value::Number(i64::from(*required)))])
        }
        // Which agent answers is as inert as the value of a secret.
        MountKind::Ssh { id, owner, mode, required } => Value::map([
            ("ssh", Value::text(id)),
            ("owner", Value::optional(owner.as_deref())),
            ("mode", Value::Number(i64::from(*mode))),
            ("required", Value::Number(i64::from(*required))),
        ]),
        MountKind::Tmpfs { size } => {
            Value::map([("tmpfs", size.map_or(Value::Absent, |size| Value::Number(i64::try_from(size).unwrap_or(i64::MAX))))])
        }
    };
    Value::map([("at", Value::text(at)), ("what", kind)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TreeSource;

    fn key(change: impl FnOnce(&mut Copy)) -> Fingerprint {
        let mut copy = Copy {
            from: TreeSource::Context(String::new()),
            sources: vec!["a".to_owned()],
            to: "/a".to_owned(),
            owner: None,
            mode: ModeRule::Normal,
            exclude: Vec::new(),
            parents: false,
            unpack: false,
            newlines: Newlines::Keep,
            missing: Missing::Fail,
        };
        change(&mut copy);
        let platform = "linux/amd64".parse().unwrap();
        let around = Surroundings { below: Fingerprint::of(b"below"), platform: &platform, epoch: 0 };
        around.copy(&copy, Fingerprint::of(b"selected")).key()
    }

    #[test]
    fn how_files_were_chosen_is_inert_and_what_becomes_of_them_is_not() {
        let plain = key(|_| ());
        assert_eq!(key(|copy| copy.sources = vec!["b".to_owned()]), plain);
        assert_eq!(key(|copy| copy.exclude = vec![".git".to_owned()]), plain);
        assert_eq!(key(|copy| copy.mode = ModeRule::Keep), plain);
        assert_eq!(key(|copy| copy.from = TreeSource::Context("other".to_owned())), plain);
        assert_ne!(key(|copy| copy.to = "/a/".to_owned()), plain);
        assert_ne!(key(|copy| copy.owner = Some("0".to_owned())), plain);
        assert_ne!(key(|copy| copy.parents = true), plain);
        assert_ne!(key(|copy| copy.unpack = true), plain);
        assert_ne!(key(|copy| copy.newlines = Newlines::Lf), plain);
    }
}
