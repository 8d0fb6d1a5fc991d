//! A step that made an image out of what was below it, and what is below it on another base → whether it would have done the same there.
//!
//! What a step was is read from the history that lapstrake writes. Of a step that only puts files in place it is known what it looks at:
//! the directories on the way to them, what is there already, and the account files for the name of an owner. Everything else may have
//! looked at anything.

use std::collections::BTreeMap;

use crate::image::History;
use crate::tree::{Change, Difference, Entry, LastLink, Metadata, Node, Tree, TreePath};

/// What a step was.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// It changed the config alone.
    Setting,
    /// It put files at or below these places. A source that was a file has its name here.
    Puts { places: Vec<String>, names: Vec<String> },
    /// It may have looked at anything, and why that is so.
    Leans(String),
}

/// The settings of Dockerfiles.
const SETTINGS: [&str; 13] =
    ["ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME"];

fn kind(line: &History) -> Kind {
    let leans = |why: &str| Kind::Leans(why.to_owned());
    let text = match (&line.created_by, line.comment.as_deref()) {
        (Some(text), Some("lapstrake")) => text.as_str(),
        (_, _) => return leans("nobody says what it did"),
    };
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_empty = line.empty_layer == Some(true);
    match verb {
        "run" | "RUN" => leans("a command may depend on anything in the base"),
        "env" | "user" | "shell" if is_empty => Kind::Setting,
        verb if is_empty && SETTINGS.contains(&verb) => Kind::Setting,
        "write" | "workdir" => puts(&[rest], &[]),
        "mkdir" => puts(&rest.split(' ').collect::<Vec<_>>(), &[]),
        "copy" | "fetch" => {
            let Some((what, to)) = rest.rsplit_once(" → ") else { return leans("nobody says what it did") };
            let (to, from) = to.split_once(" from ").map_or((to, None), |(to, from)| (to, Some(from)));
            match from {
                Some(from) if from.starts_with("stage:") => Kind::Leans(format!("what is in {from} may have been made from the base")),
                Some(_) | None => puts(&[to], &what.split(' ').collect::<Vec<_>>()),
            }
        }
        _ => leans("it looks at what is there"),
    }
}

fn puts(places: &[&str], sources: &[&str]) -> Kind {
    let plain = |word: &&str| !word.is_empty() && !word.contains(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\''));
    if places.iter().any(|place| !place.starts_with('/') || !plain(place)) {
        return Kind::Leans("where it put its files cannot be told".to_owned());
    }
    // What a pattern or a quoted name found is not told.
    let is_name = |source: &&str| plain(source) && !source.contains(['*', '?', '[', '\\']) && !source.ends_with(['/', '.']);
    let names =
        if sources.iter().all(is_name) { sources.iter().filter_map(|source| source.rsplit('/').next()).collect() } else { Vec::new() };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Kind::Puts { places: owned(places), names: owned(&names) }
}

/// Why a step may have come to something else over `new` than over `old`; `None` where it cannot. `made` is what it came to.
pub(super) fn leans(line: &History, made: Option<&Difference>, old: &Tree, new: &Tree) -> Option<String> {
    let (places, names) = match kind(line) {
        Kind::Setting => return None,
        Kind::Leans(why) => return Some(why),
        Kind::Puts { places, names } => (places, names),
    };
    let changed = changed(old, new);
    places.iter().find_map(|place| looked_at(place, &names, made, (old, new), &changed)).or_else(|| put(made?, (old, new), &changed))
}

/// What differs between the bases in more than times, and whether it is in the old one.
fn changed(old: &Tree, new: &Tree) -> BTreeMap<TreePath, bool> {
    let mut changed = BTreeMap::new();
    for (path, change) in Difference::between(old, new).entries {
        let before = old.get(&path);
        let is_same = match (&change, &before) {
            (Change::Put(Entry::Directory(metadata)), Some(Node::Directory(directory))) => {
                undated(metadata) == undated(&directory.metadata)
            }
            (_, _) => false,
        };
        if !is_same {
            changed.insert(path, before.is_some());
        }
    }
    changed
}

fn undated(metadata: &Metadata) -> Metadata {
    Metadata { mtime: 0, ..metadata.clone() }
}

/// What the step found at its destination.
fn looked_at(
    place: &str,
    names: &[String],
    made: Option<&Difference>,
    (old, new): (&Tree, &Tree),
    changed: &BTreeMap<TreePath, bool>,
) -> Option<String> {
    let resolved = |tree: &Tree| tree.resolve(place.as_bytes(), LastLink::Follow).ok();
    let (Some(at), Some(other)) = (resolved(old), resolved(new)) else { return Some(format!("`{place}` leads nowhere")) };
    if at != other {
        return Some(format!("`{place}` leads to `{at}` in the old base and to `{other}` in the new one"));
    }
    let sort = |tree: &Tree| match tree.get(&at) {
        None => "not there",
        Some(Node::Directory(_)) => "a directory",
        Some(Node::File(_) | Node::Symlink(_) | Node::Special(_)) => "a file",
    };
    if sort(old) != sort(new) {
        return Some(format!("`{place}` is {} in the old base and {} in the new one", sort(old), sort(new)));
    }
    let has_put = |path: &TreePath| match made.and_then(|made| made.entries.get(path)) {
        Some(Change::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_))) => true,
        Some(Change::Put(Entry::Directory(_)) | Change::Whiteout) | None => false,
    };
    // All that it put is known where its one source became the destination itself: below it, a directory may have been unfolded.
    if names.len() == 1 && has_put(&at) {
        return None;
    }
    // What it put and was there already is in no layer.
    let equal = changed.iter().find(|(path, existed)| **existed && path.starts_with(&at) && !has_put(path));
    equal.map(|(path, _)| format!("`{path}` is another in the new base, and the step may have put what the old one had"))
}

/// What the step put there.
fn put(made: &Difference, (old, new): (&Tree, &Tree), changed: &BTreeMap<TreePath, bool>) -> Option<String> {
    let mut owners = false;
    for (path, change) in &made.entries {
        let before = old.get(path);
        match change {
            Change::Whiteout => return Some(format!("it removes `{path}`")),
            Change::Put(Entry::Directory(_)) if changed.contains_key(path) => {
                return Some(format!("the directory `{path}` is another in the new base"));
            }
            Change::Put(Entry::Directory(metadata)) => {
                let is_there = matches!(&before, Some(Node::Directory(found)) if undated(&found.metadata) == undated(metadata));
                owners |= !is_there && (metadata.uid, metadata.gid) != (0, 0);
            }
            Change::Put(Entry::File(_) | Entry::Symlink(_) | Entry::Special(_)) if matches!(new.get(path), Some(Node::Directory(_))) => {
                return Some(format!("`{path}` is a directory in the new base"));
            }
            Change::Put(entry @ (Entry::File(_) | Entry::Symlink(_) | Entry::Special(_))) => {
                let metadata = entry.metadata();
                owners |= (metadata.uid, metadata.gid) != (0, 0);
            }
        }
    }
    if !made.opaque.is_empty() {
        return Some("it takes the place of a whole directory".to_owned());
    }
    let other_accounts = ["etc/passwd", "etc/group"].into_iter().find(|file| {
        let resolved = |tree: &Tree| tree.resolve(file.as_bytes(), LastLink::Follow).ok();
        let at = resolved(old);
        at.is_none() || at != resolved(new) || at.is_some_and(|at| changed.contains_key(&at))
    });
    match other_accounts {
        Some(file) if owners => Some(format!("its files do not belong to 0:0, and `/{file}`, which may have said to whom, is another")),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::arbitrary::{directory, file, path, symlink, tree_of};

    fn line(text: &str) -> History {
        History { created_by: Some(text.to_owned()), comment: Some("lapstrake".to_owned()), ..History::default() }
    }

    /// What putting files over a tree comes to.
    fn putting(old: &Tree, files: &[&str]) -> Difference {
        let mut editor = crate::tree::Editor::new(old);
        let Node::Directory(parents) = directory() else { unreachable!() };
        for at in files {
            let at = path(at);
            let parent = [b"/", at.parent().unwrap().as_bytes()].concat();
            editor.make_directories(&parent, &parents.metadata).unwrap();
            editor.put(&at, file(b"put")).unwrap();
        }
        Difference::between(old, &editor.finish())
    }

    #[test]
    fn only_steps_that_put_files_in_place_can_be_known_not_to_lean() {
        let tree = tree_of(&[("etc/passwd", file(b"a"))]);
        for (text, expected) in [
            ("copy src → /app", true),
            ("copy a b → /app/ from docker.io/library/tool:1", true),
            ("fetch https://h/a.tar → /app/", true),
            ("write /app/f", true),
            ("workdir /app", true),
            ("mkdir /app /srv", true),
            ("copy src → /app from stage:wheels", false),
            ("copy src → app", false),
            ("copy src → /my app", false),
            ("mkdir \"/a b\"", false),
            ("run true", false),
            ("RUN /bin/sh -c true # buildkit", false),
            ("COPY src /app # buildkit", false),
            ("extract a.tar → /app", false),
            ("remove /etc/passwd", false),
            ("link /a → /b", false),
            ("env A=1", false),
        ] {
            assert_eq!(leans(&line(text), Some(&putting(&tree, &["app/f"])), &tree, &tree).is_none(), expected, "{text}");
        }
        assert!(leans(&History { comment: None, ..line("copy src → /app") }, None, &tree, &tree).is_some());
        for text in ["env A=1", "user app", "CMD [\"a\"]"] {
            assert_eq!(leans(&History { empty_layer: Some(true), ..line(text) }, None, &tree, &tree), None, "{text}");
        }
    }

    #[test]
    fn whatever_a_step_that_puts_files_looks_at_must_be_as_it_was() {
        let base = [("etc/passwd", file(b"a")), ("opt/here", file(b"put")), ("srv", directory())];
        let with = |changes: &[(&'static str, Node)]| {
            let all: BTreeMap<&str, Node> = base.iter().cloned().chain(changes.iter().cloned()).collect();
            tree_of(&all.into_iter().collect::<Vec<_>>())
        };
        let old = with(&[]);
        let cases: [(&str, &[&str], Tree, bool); 12] = [
            ("copy src → /app", &["app/f"], with(&[("usr/bin/tool", file(b"new")), ("etc/passwd", file(b"b"))]), true),
            ("copy src → /app", &["app/f"], with(&[("app/g", file(b"new"))]), false),
            ("copy src → /app", &["app/f"], with(&[("app", symlink("srv"))]), false),
            ("copy src → /srv", &["srv/f"], with(&[("srv/g", file(b"new"))]), true),
            ("copy src → /srv", &["srv/f"], with(&[("srv/f/g", file(b"new"))]), false),
            // What was put there might have been what the old base had.
            ("copy src → /opt", &["opt/f"], with(&[("opt/here", file(b"changed"))]), false),
            ("copy src → /", &["f"], with(&[("etc/passwd", file(b"b"))]), false),
            // A directory that holds a file of its own name, perhaps.
            ("copy app → /opt", &["opt/app"], with(&[("opt/here", file(b"changed"))]), false),
            ("copy docker/one two → /", &["one", "two"], with(&[("etc/passwd", file(b"b"))]), false),
            ("copy app → /opt/app", &["opt/app"], with(&[("opt/here", file(b"changed"))]), true),
            ("write /opt/here", &[], with(&[("opt/here", file(b"changed"))]), false),
            ("write /opt/here", &[], with(&[("opt/other", file(b"new"))]), true),
        ];
        for (text, files, new, expected) in cases {
            let found = leans(&line(text), Some(&putting(&old, files)), &old, &new);
            assert_eq!(found.is_none(), expected, "{text} {files:?}: {found:?}");
        }
    }

    #[test]
    fn owners_may_be_names_and_names_are_told_by_the_base() {
        let old = tree_of(&[("etc/passwd", file(b"a")), ("etc/group", file(b"a"))]);
        let new = tree_of(&[("etc/passwd", file(b"b")), ("etc/group", file(b"a"))]);
        let mut made = putting(&old, &["app/f"]);
        let told = |made: &Difference, new: &Tree| leans(&line("copy src → /app"), Some(made), &old, new);
        assert_eq!(told(&made, &new), None);
        let Some(Change::Put(Entry::File(file))) = made.entries.get_mut(&path("app/f")) else { panic!("the file") };
        std::sync::Arc::make_mut(&mut file.metadata).uid = 1000;
        assert!(told(&made, &new).is_some_and(|why| why.contains("/etc/passwd")));
        assert_eq!(told(&made, &old), None);
        made.entries.insert(path("etc"), Change::Whiteout);
        assert!(told(&made, &old).is_some_and(|why| why.contains("removes")));
    }
}
