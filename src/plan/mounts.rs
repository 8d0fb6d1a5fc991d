//! The mounts of a `run` as written → places and what is seen there, in order of the places.

use std::collections::BTreeMap;

use super::diagnostics as say;
use super::label;
use super::path;
use super::sink::Sink;
use super::steps::{Point, bits};
use super::{Access, CacheAccess, FirstContents, Mount, MountKind, Sharing};
use crate::diagnostic::Span;
use crate::spec::words::is_variable;
use crate::spec::{self, Spanned, Text};

/// A secret's mode when nothing is said: for its owner alone.
const SECRET_MODE: u16 = 0o400;

/// A socket's mode when nothing is said.
const SOCKET_MODE: u16 = 0o600;

/// Settles all mounts of a step; `workdir` is the step's own.
pub(super) fn settle(mounts: &[Spanned<spec::Mount>], workdir: &str, point: &Point<'_>, sink: &mut Sink) -> Option<Vec<Mount>> {
    let all: Vec<Option<Mount>> = mounts.iter().map(|mount| one(mount, workdir, point, sink)).collect();
    let mut seen: BTreeMap<(bool, &str), Span> = BTreeMap::new();
    for mount in all.iter().flatten() {
        if let Some(earlier) = seen.insert((becomes_variable(mount), mount.at.as_str()), mount.span) {
            sink.push(say::duplicate_mount(mount.span, earlier, &mount.at));
        }
    }
    let mut mounts = all.into_iter().collect::<Option<Vec<Mount>>>()?;
    // Component by component: a mount below another must come after it. Variables come last.
    mounts
        .sort_by(|a, b| (becomes_variable(a), a.at.split('/').collect::<Vec<_>>()).cmp(&(becomes_variable(b), b.at.split('/').collect())));
    Some(mounts)
}

fn becomes_variable(mount: &Mount) -> bool {
    match mount.kind {
        MountKind::SecretEnv { .. } => true,
        MountKind::Cache { .. } | MountKind::From { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } | MountKind::Tmpfs { .. } => {
            false
        }
    }
}

fn one(mount: &Spanned<spec::Mount>, workdir: &str, point: &Point<'_>, sink: &mut Sink) -> Option<Mount> {
    let needed = |required: &Option<Spanned<bool>>| required.as_ref().is_none_or(|required| required.value);
    let (at, kind) = match &mount.value {
        spec::Mount::Cache { cache, at, sharing, owner, mode, from, path, access } => {
            let first = match from {
                None => None,
                Some(from) => {
                    let source = point.tree(Some(from), sink);
                    let path = part(path.as_ref(), point, sink);
                    Some(FirstContents { source: source?, path: path? })
                }
            };
            let access = match access.as_ref().map(|access| access.value) {
                None | Some(spec::CacheAccess::Kept) => CacheAccess::Kept,
                Some(spec::CacheAccess::ReadOnly) => CacheAccess::ReadOnly,
            };
            let id = point.scope.word(cache, sink);
            let at = place(at, workdir, point, sink);
            let owner = point.owner(owner.as_ref(), sink);
            let sharing = match sharing.as_ref().map(|sharing| sharing.value) {
                None | Some(spec::Sharing::Shared) => Sharing::Shared,
                Some(spec::Sharing::Private) => Sharing::Private,
                Some(spec::Sharing::Locked) => Sharing::Locked,
            };
            (at?, MountKind::Cache { id: id?, sharing, owner: owner?, mode: bits(mode.as_ref()), first, access })
        }
        spec::Mount::From { from, path, at, access } => {
            let source = point.tree(Some(from), sink);
            let path = part(path.as_ref(), point, sink);
            let at = place(at, workdir, point, sink);
            let access = match access.as_ref().map(|access| access.value) {
                None | Some(spec::Access::ReadOnly) => Access::ReadOnly,
                Some(spec::Access::Discarded) => Access::Discarded,
            };
            (at?, MountKind::From { source: source?, path: path?, access })
        }
        spec::Mount::Secret { secret, at, owner, mode, required } => {
            let at = match at {
                None => Some(label::secret_path(secret)),
                Some(text) => place(text, workdir, point, sink),
            };
            let owner = point.owner(owner.as_ref(), sink);
            let mode = bits(mode.as_ref()).unwrap_or(SECRET_MODE);
            (at?, MountKind::Secret { id: secret.to_string(), owner: owner?, mode, required: needed(required) })
        }
        spec::Mount::SecretEnv { secret, env, required } => {
            if !is_variable(env) {
                sink.push(say::invalid_variable_name(env.span, env));
                return None;
            }
            (env.value.clone(), MountKind::SecretEnv { id: secret.to_string(), required: needed(required) })
        }
        spec::Mount::Ssh { ssh, at, owner, mode, required } => {
            let at = match at {
                None => Some(label::agent_path(ssh)),
                Some(text) => place(text, workdir, point, sink),
            };
            let owner = point.owner(owner.as_ref(), sink);
            let mode = bits(mode.as_ref()).unwrap_or(SOCKET_MODE);
            (at?, MountKind::Ssh { id: ssh.to_string(), owner: owner?, mode, required: needed(required) })
        }
        spec::Mount::Tmpfs { at, size } => {
            (place(at, workdir, point, sink)?, MountKind::Tmpfs { size: size.as_ref().map(|size| size.value) })
        }
    };
    Some(Mount { at, span: mount.span, kind })
}

fn place(text: &Text, workdir: &str, point: &Point<'_>, sink: &mut Sink) -> Option<String> {
    let filled = point.scope.word(text, sink)?;
    let at = sink.take(path::absolute(workdir, &filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))?;
    if at == "/" {
        sink.push(say::mount_at_root(text.span));
        return None;
    }
    Some(at)
}

/// Which path of a source is meant; all of it where none is named.
fn part(path: Option<&Text>, point: &Point<'_>, sink: &mut Sink) -> Option<String> {
    path.map_or_else(|| Some(String::new()), |text| inside(text, point, sink))
}

fn inside(text: &Text, point: &Point<'_>, sink: &mut Sink) -> Option<String> {
    let filled = point.scope.word(text, sink)?;
    sink.take(path::relative(&filled).map_err(|bad| say::bad_path(text.span, &filled, bad)))
}
