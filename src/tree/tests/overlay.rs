//! Rules that hold through the kernel's own overlay: what it shows merged is what is read from its upper directory. They need root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::event::Cancel;
use crate::tree::arbitrary::{Samples, file, path, plain, tree, tree_of};
use crate::tree::{
    Difference, DirectoryHandle, Editor, LocalDirectory, NoneKnown, Patterns, Tree, TreePath, checkout_tree, normalise_upper, read_upper,
    scan,
};

const EPOCH: i64 = 315_619_200;

/// An overlay that goes away with its value.
struct Overlay(PathBuf);

impl Overlay {
    fn mount(lowers: &[&Path], upper: Option<(&Path, &Path)>, at: &Path) -> Overlay {
        let lowers = lowers.iter().map(|lower| lower.to_str().unwrap()).collect::<Vec<_>>().join(":");
        let mut options = format!("lowerdir={lowers},userxattr,index=off,redirect_dir=nofollow,metacopy=off");
        if let Some((upper, work)) = upper {
            options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
        }
        let options = std::ffi::CString::new(options).unwrap();
        mount("overlay", at, "overlay", MountFlags::empty(), options.as_c_str()).expect("these tests mount overlays and need root");
        Overlay(at.to_owned())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn with(below: &Tree) -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(place.at(name)).unwrap();
        }
        checkout_tree(below, &Samples, &place.open("lower"), &Cancel::new()).unwrap();
        let root = &below.root.metadata;
        place.open("upper").set_metadata(&TreePath::root(), crate::tree::NodeKind::Directory, root).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn open(&self, name: &str) -> LocalDirectory {
        LocalDirectory::open(&self.at(name)).unwrap()
    }

    fn scan(&self, name: &str) -> Tree {
        scan(&self.open(name), &NoneKnown, &Cancel::new()).unwrap().tree
    }

    /// Makes changes in an overlay over `below` and checks all that is promised of them. Gives the tree above.
    fn check(&self, below: &Tree, change: impl FnOnce(&Path)) -> Tree {
        let merged = {
            let _overlay = Overlay::mount(&[&self.at("lower")], Some((&self.at("upper"), &self.at("work"))), &self.at("merged"));
            change(&self.at("merged"));
            self.scan("merged")
        };
        let read = || read_upper(below, &self.open("upper"), EPOCH, &NoneKnown, &Cancel::new()).unwrap().tree;
        let above = read();
        assert_eq!(above, merged.settled(below, EPOCH), "reading the upper directory is comparing with what is seen merged");
        normalise_upper(&self.open("upper"), &Difference::between(below, &above), &above.root.metadata).unwrap();
        assert_eq!(read(), above, "the normal form means the same");
        let _overlay = Overlay::mount(&[&self.at("upper"), &self.at("lower")], None, &self.at("merged"));
        assert_eq!(self.scan("merged"), above, "the next step sees exactly the tree above, times included");
        above
    }
}

fn base() -> Tree {
    let tree = tree_of(&[
        ("bin/sh", file(b"a")),
        ("etc/passwd", file(b"")),
        ("etc/deep/er/x", file(b"a")),
        ("lib/one", file(b"a")),
        ("lib/two", file(b"a")),
        ("opt/tool/x", file(b"a")),
        ("opt/tool/y", file(b"a")),
        ("gone/x", file(b"a")),
    ]);
    let mut editor = Editor::new(&tree);
    editor.link(&path("lib/one"), &path("lib/two")).unwrap();
    editor.link(&path("lib/one"), &path("lib/three")).unwrap();
    editor.finish()
}

#[test]
fn what_commands_do_is_read_from_the_upper_directory() {
    let below = base();
    let place = Place::with(&below);
    let above = place.check(&below, |root| {
        fs::write(root.join("new"), b"new").unwrap();
        fs::write(root.join("etc/passwd"), b"root").unwrap();
        fs::remove_file(root.join("bin/sh")).unwrap();
        fs::remove_dir_all(root.join("gone")).unwrap();
        // A directory in place of another: opaque to the kernel, explicit whiteouts for us.
        fs::remove_dir_all(root.join("opt/tool")).unwrap();
        fs::create_dir(root.join("opt/tool")).unwrap();
        fs::write(root.join("opt/tool/x"), b"a").unwrap();
        fs::write(root.join("opt/tool/z"), b"a").unwrap();
        // A file in place of a directory and the other way round.
        fs::remove_dir_all(root.join("etc/deep/er")).unwrap();
        fs::write(root.join("etc/deep/er"), b"x").unwrap();
        fs::remove_file(root.join("etc/deep/er")).unwrap();
        fs::create_dir(root.join("etc/deep/er")).unwrap();
        symlink("/etc", root.join("link")).unwrap();
        fs::write(root.join("lib/one"), b"other").unwrap();
        fs::hard_link(root.join("new"), root.join("etc/new")).unwrap();
        fs::hard_link(root.join("lib/two"), root.join("lib/four")).unwrap();
        fs::set_permissions(root.join("lib/three"), fs::Permissions::from_mode(0o4755)).unwrap();
    });
    let groups: Vec<String> = above.links.groups().iter().map(|group| format!("{group:?}")).collect();
    assert_eq!(groups, ["[/etc/new, /new]", "[/lib/four, /lib/two]"]);
    let difference = Difference::between(&below, &above);
    let changed: Vec<String> = difference
        .entries
        .iter()
        .map(|(path, change)| format!("{}{path}", if *change == crate::tree::Change::Whiteout { "-" } else { "" }))
        .collect();
    let expected = [
        "/",
        "/bin",
        "-/bin/sh",
        "/etc",
        "/etc/deep",
        "/etc/deep/er",
        "-/etc/deep/er/x",
        "/etc/new",
        "/etc/passwd",
        "-/gone",
        "/lib",
        "/lib/four",
        "/lib/one",
        "/lib/three",
        "/lib/two",
        "/link",
        "/new",
        "/opt",
        "/opt/tool",
        "-/opt/tool/y",
        "/opt/tool/z",
    ];
    assert_eq!(changed, expected);
    assert_eq!(above.get(&path("opt/tool/x")).unwrap().metadata().mtime, plain(0).mtime, "equal in all but times is unchanged");
    assert_eq!(above.get(&path("new")).unwrap().metadata().mtime, EPOCH);
}

#[test]
fn doing_and_undoing_leaves_nothing() {
    let below = base();
    let place = Place::with(&below);
    let above = place.check(&below, |root| {
        fs::rename(root.join("bin/sh"), root.join("bin/sh.old")).unwrap();
        fs::rename(root.join("bin/sh.old"), root.join("bin/sh")).unwrap();
        fs::write(root.join("tmp"), b"x").unwrap();
        fs::remove_file(root.join("tmp")).unwrap();
        fs::File::options().append(true).open(root.join("lib/one")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    });
    assert_eq!(above, below);
    assert_eq!(fs::read_dir(place.at("upper")).unwrap().count(), 0, "the normal form of no change is an empty directory");
}

#[test]
fn discarded_paths_are_removed_from_the_upper_directory() {
    let below = tree_of(&[("var/log/old", file(b"a")), ("var/log/removed", file(b"a"))]);
    let place = Place::with(&below);
    {
        let _overlay = Overlay::mount(&[&place.at("lower")], Some((&place.at("upper"), &place.at("work"))), &place.at("merged"));
        fs::write(place.at("merged/var/log/old"), b"2").unwrap();
        fs::write(place.at("merged/var/log/new"), b"2").unwrap();
        fs::remove_file(place.at("merged/var/log/removed")).unwrap();
        fs::write(place.at("merged/kept"), b"2").unwrap();
    }
    let read = read_upper(&below, &place.open("upper"), EPOCH, &NoneKnown, &Cancel::new()).unwrap().tree;
    let above = read.discarding(&below, &Patterns::new(["var/log/*"]).unwrap()).settled(&below, EPOCH);
    normalise_upper(&place.open("upper"), &Difference::between(&below, &above), &above.root.metadata).unwrap();
    let _overlay = Overlay::mount(&[&place.at("upper"), &place.at("lower")], None, &place.at("merged"));
    assert_eq!(place.scan("merged"), above);
    assert_eq!(fs::read_dir(place.at("upper")).unwrap().count(), 1);
}

/// One thing that a command may do.
#[derive(Debug, Clone)]
enum Doing {
    Write(usize, u8),
    Remove(usize),
    MakeDirectory(usize),
    Rename(usize, usize),
    Link(usize, usize),
    Mode(usize, u32),
}

fn doing() -> impl Strategy<Value = Doing> {
    let place = || 0..PLACES.len();
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Doing::Write(at, byte)),
        place().prop_map(Doing::Remove),
        place().prop_map(Doing::MakeDirectory),
        (place(), place()).prop_map(|(from, to)| Doing::Rename(from, to)),
        (place(), place()).prop_map(|(from, to)| Doing::Link(from, to)),
        (place(), prop::sample::select(vec![0o644, 0o755, 0o700])).prop_map(|(at, mode)| Doing::Mode(at, mode)),
    ]
}

const PLACES: [&str; 10] = ["a", "b", "c", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/b/c", "c/a"];

/// What cannot be done is not done, as when a command fails.
fn act(root: &Path, doing: &Doing) {
    let at = |place: usize| root.join(PLACES[place]);
    let is_link = |place: usize| fs::symlink_metadata(at(place)).is_ok_and(|found| !found.is_file() && !found.is_dir());
    match *doing {
        // Links lead out of the test's own directory and a device does what it does: such are only moved and removed.
        Doing::Write(place, byte) if !is_link(place) => drop(fs::write(at(place), [byte])),
        Doing::Remove(place) => match fs::symlink_metadata(at(place)) {
            Ok(found) if found.is_dir() => drop(fs::remove_dir_all(at(place))),
            Ok(_) => drop(fs::remove_file(at(place))),
            Err(_) => {}
        },
        Doing::MakeDirectory(place) => drop(fs::create_dir(at(place))),
        Doing::Rename(from, to) => drop(fs::rename(at(from), at(to))),
        Doing::Link(from, to) => drop(fs::hard_link(at(from), at(to))),
        Doing::Mode(place, mode) if !is_link(place) => drop(fs::set_permissions(at(place), fs::Permissions::from_mode(mode))),
        Doing::Write(..) | Doing::Mode(..) => {}
    }
}

/// Links that are followed on the way would lead elsewhere.
fn without_symlinks(tree: &Tree) -> Tree {
    let mut editor = Editor::new(tree);
    for (path, node) in tree.walk() {
        if matches!(node, crate::tree::Node::Symlink(_)) {
            editor.remove(&path);
        }
    }
    editor.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_doings_are_read_from_the_upper_directory(below in tree(), doings in prop::collection::vec(doing(), 1..12)) {
        let below = without_symlinks(&below);
        let place = Place::with(&below);
        place.check(&below, |root| {
            for doing in &doings {
                act(root, doing);
            }
        });
    }
}
