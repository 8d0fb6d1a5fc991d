//! Rules that hold between trees and directories on disk. They need root: owners and devices are real.

use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Mutex;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode};

use crate::event::Cancel;
use crate::tree::arbitrary::{SAMPLES, Samples, pair, path, plain, tree, tree_of};
use crate::tree::contents::Settled;
use crate::tree::hash::Threads;
use crate::tree::scan::{Effort, Kept, plain as scan_plain};
use crate::tree::{
    CheckoutError, Content, Difference, DirectoryContents, DirectoryHandle, FileStamp, KnownContents, ListedKind, LocalDirectory, Metadata,
    Modes, Node, NodeKind, NoneKnown, Patterns, ScanError, Scanned, Tree, TreePath, Unread, checkout_difference, checkout_tree,
    normalise_upper, read_upper, scan, scan_context,
};

fn open(directory: &tempfile::TempDir) -> LocalDirectory {
    LocalDirectory::open(directory.path()).unwrap()
}

fn scan_all(handle: &dyn DirectoryHandle) -> Scanned {
    scan(handle, &NoneKnown, &Cancel::new()).unwrap()
}

/// A directory that is only read, and what was listed and opened.
struct Watched {
    directory: LocalDirectory,
    listed: Mutex<Vec<TreePath>>,
    opened: Mutex<Vec<TreePath>>,
    /// What happens when this directory is listed.
    meanwhile: Option<(TreePath, Box<dyn Fn() + Send + Sync>)>,
}

impl Watched {
    fn new(directory: LocalDirectory) -> Watched {
        Watched { directory, listed: Mutex::default(), opened: Mutex::default(), meanwhile: None }
    }
}

impl DirectoryHandle for Watched {
    fn list(&self, directory: &TreePath) -> Result<Vec<crate::tree::Listed>, crate::tree::DiskError> {
        self.listed.lock().unwrap().push(directory.clone());
        if let Some((at, act)) = &self.meanwhile
            && at == directory
        {
            act();
        }
        self.directory.list(directory)
    }
    fn open(&self, file: &TreePath) -> Result<std::fs::File, crate::tree::DiskError> {
        self.opened.lock().unwrap().push(file.clone());
        self.directory.open(file)
    }
    fn root_status(&self) -> Result<crate::tree::Status, crate::tree::DiskError> {
        self.directory.root_status()
    }
    fn make_directory(&self, _: &TreePath) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn create_file(&self, _: &TreePath) -> Result<std::fs::File, crate::tree::DiskError> {
        unreachable!()
    }
    fn make_symlink(&self, _: &TreePath, _: &[u8]) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn make_special(&self, _: &TreePath, _: crate::tree::SpecialKind) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn make_whiteout(&self, _: &TreePath) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn hard_link(&self, _: &TreePath, _: &TreePath) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn set_metadata(&self, _: &TreePath, _: NodeKind, _: &Metadata) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn set_opaque(&self, _: &TreePath) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
    fn remove(&self, _: &TreePath) -> Result<(), crate::tree::DiskError> {
        unreachable!()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_tree_that_is_written_out_is_read_back(tree in tree()) {
        let directory = tempfile::tempdir().unwrap();
        checkout_tree(&tree, &Samples, &open(&directory), &Cancel::new()).unwrap();
        prop_assert_eq!(scan_all(&open(&directory)).tree, tree.clone());
        // And once more from there, verified by fingerprints.
        let copy = tempfile::tempdir().unwrap();
        let from = open(&directory);
        checkout_tree(&tree, &DirectoryContents(&from), &open(&copy), &Cancel::new()).unwrap();
        prop_assert_eq!(scan_all(&open(&copy)).tree, tree);
    }

    #[test]
    fn a_difference_that_is_written_out_is_read_back_over_the_tree_below((below, above) in pair()) {
        let directory = tempfile::tempdir().unwrap();
        let difference = Difference::between(&below, &above).dated(&below, 99);
        // No change has no entry for the root either; what the root is then is not the difference's business.
        open(&directory).set_metadata(&TreePath::root(), NodeKind::Directory, &below.root.metadata).unwrap();
        checkout_difference(&difference, &Samples, &open(&directory), &Cancel::new()).unwrap();
        let read = read_upper(&below, &open(&directory), 99, &NoneKnown, &Cancel::new()).unwrap();
        prop_assert_eq!(&read.tree, &above.settled(&below, 99));
        // It is in normal form already.
        normalise_upper(&open(&directory), &difference, &read.tree.root.metadata).unwrap();
        let again = read_upper(&below, &open(&directory), 99, &NoneKnown, &Cancel::new()).unwrap();
        prop_assert_eq!(again.tree, read.tree);
    }

    #[test]
    fn ignoring_while_scanning_is_ignoring_afterwards(
        tree in tree(),
        patterns in prop::collection::vec(
            prop::sample::select(vec!["a", "b", "!a", "*", "!b/a", "**/a", "!**/c", "a/*", "!a/b/**", "?-b", "!a/b/c", "a/b"]), 0..5),
    ) {
        let directory = tempfile::tempdir().unwrap();
        checkout_tree(&tree, &Samples, &open(&directory), &Cancel::new()).unwrap();
        let patterns = Patterns::new(patterns).unwrap();
        let scanned = scan_context(&open(&directory), &patterns, &NoneKnown, &Cancel::new()).unwrap();
        prop_assert_eq!(scanned.tree, patterns.apply_at(&tree, &[TreePath::root()].into()).normalised(Modes::Keep, 0));
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..300_usize {
        let bytes = SAMPLES[number % SAMPLES.len()].repeat(number % 7);
        std::fs::create_dir_all(directory.path().join(format!("d{}", number % 11))).unwrap();
        std::fs::write(directory.path().join(format!("d{}/{number}", number % 11)), bytes).unwrap();
    }
    let with = |threads| {
        let effort = Effort { threads: Threads::Exactly(threads), entries_at_a_time: 200 / threads };
        let read = scan_plain(&open(&directory), &Patterns::none(), Kept::All, effort, &NoneKnown, &Cancel::new());
        read.unwrap().tree.fingerprint()
    };
    let one = with(NonZeroUsize::MIN);
    for threads in [2, 7, 64] {
        assert_eq!(with(NonZeroUsize::new(threads).unwrap()), one);
    }
}

#[test]
fn a_file_that_is_changed_between_its_names_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["a", "z"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("a/f"), "1").unwrap();
    std::fs::hard_link(at("a/f"), at("z/f")).unwrap();
    symlink("f", at("a/link")).unwrap();
    std::fs::hard_link(at("a/link"), at("z/link")).unwrap();
    let groups = scan_all(&open(&directory)).tree.links;
    assert_eq!(groups.groups(), [[path("a/f"), path("z/f")], [path("a/link"), path("z/link")]]);
    let file = at("a/f");
    let meanwhile: Box<dyn Fn() + Send + Sync> = Box::new(move || std::fs::write(&file, "22").unwrap());
    let watched = Watched { meanwhile: Some((path("z"), meanwhile)), ..Watched::new(open(&directory)) };
    for entries_at_a_time in [1, 100] {
        let effort = Effort { threads: Threads::Exactly(NonZeroUsize::MIN), entries_at_a_time };
        let result = scan_plain(&watched, &Patterns::none(), Kept::All, effort, &NoneKnown, &Cancel::new());
        assert!(matches!(result, Err(ScanError::Changed { path: at }) if at == path("z/f")));
    }
}

#[test]
fn files_of_several_names_are_one_however_much_is_between_them() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("0"), b"first").unwrap();
    std::fs::create_dir(at("many")).unwrap();
    for number in 0..40 {
        std::fs::write(at(&format!("many/{number}")), number.to_string()).unwrap();
    }
    std::fs::hard_link(at("0"), at("z")).unwrap();
    for entries_at_a_time in [1, 2, 7, 42, 43, 100] {
        let effort = Effort { threads: Threads::Exactly(NonZeroUsize::MIN), entries_at_a_time };
        let watched = Watched::new(open(&directory));
        let tree = scan_plain(&watched, &Patterns::none(), Kept::All, effort, &NoneKnown, &Cancel::new()).unwrap().tree;
        assert_eq!(tree.links.groups(), [[path("0"), path("z")]]);
        assert_eq!(tree.get(&path("0")), tree.get(&path("z")));
        assert_eq!(tree.fingerprint(), scan_all(&open(&directory)).tree.fingerprint());
        assert_eq!(watched.opened.into_inner().unwrap().len(), 41, "each is read once");
    }
}

#[test]
fn what_is_wanted_of_what_was_listed_is_read_once_and_remembered_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(at("a/deep")).unwrap();
    std::fs::create_dir_all(at("a-b")).unwrap();
    // Names that begin alike: a slash is less than what may follow in a name.
    let names = ["a/1", "a/2", "a/deep/3", "a-b/f", "a.b", "b", "c"];
    for name in names {
        std::fs::write(at(name), name).unwrap();
    }
    std::fs::hard_link(at("a/1"), at("d")).unwrap();
    let read_all = scan_context(&open(&directory), &Patterns::none(), &NoneKnown, &Cancel::new()).unwrap().tree;
    for entries_at_a_time in [1, 2, 100] {
        let watched = Watched::new(open(&directory));
        let known = Remembered::default();
        let read = |tree: Tree, wanted: &[&str], settled| {
            let effort = Effort { threads: Threads::Exactly(NonZeroUsize::MIN), entries_at_a_time };
            let wanted = wanted.iter().map(|at| path(at)).collect();
            let read = tree.read_with(effort, settled, &wanted, (&watched, &known, &Cancel::new())).unwrap();
            (read, std::mem::take(&mut *watched.opened.lock().unwrap()))
        };
        let unread = Unread::but(&known);
        let listed = scan_context(&watched, &Patterns::none(), &unread, &Cancel::new()).unwrap().tree;
        assert!(unread.any() && watched.opened.lock().unwrap().is_empty());
        let (some, opened) = read(listed, &["a", "a/deep", "a/deep/3", "b", "nothing"], Settled::now());
        assert_eq!(opened, [path("a/1"), path("a/2"), path("a/deep/3"), path("b")]);
        assert!(some.get(&path("a")).unwrap().is_read() && !some.get(&path("d")).unwrap().is_read());
        assert_eq!(read(some.clone(), &["a"], Settled::ALL), (some.clone(), Vec::new()));
        let (all, opened) = read(some, &["", "a"], Settled::ALL);
        assert_eq!((&all, opened), (&read_all, [path("a-b/f"), path("a.b"), path("c"), path("d")].into()));
        assert_eq!(known.known.lock().unwrap().len(), 4, "what was too young is not remembered");
        let (all, opened) = {
            let listed = scan_context(&watched, &Patterns::none(), &Unread::but(&known), &Cancel::new()).unwrap().tree;
            read(listed, &[""], Settled::ALL)
        };
        // What was read as `d` is known as `a/1`.
        assert_eq!((&all, opened), (&read_all, [path("a/2"), path("a/deep/3"), path("b")].into()));
        let unread = Unread::but(&known);
        assert_eq!(scan_context(&watched, &Patterns::none(), &unread, &Cancel::new()).unwrap().tree, read_all);
        assert!(!unread.any() && watched.opened.lock().unwrap().is_empty());
    }
}

#[test]
fn names_of_one_file_are_read_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a"), b"1").unwrap();
    std::fs::hard_link(directory.path().join("a"), directory.path().join("b")).unwrap();
    let watched = Watched::new(open(&directory));
    let listed = scan_context(&watched, &Patterns::none(), &Unread::but(&NoneKnown), &Cancel::new()).unwrap().tree;
    let read = listed.read(&[TreePath::root()].into(), &watched, &NoneKnown, &Cancel::new()).unwrap();
    assert_eq!(*watched.opened.lock().unwrap(), [path("a")]);
    assert_eq!(read, scan_context(&watched, &Patterns::none(), &NoneKnown, &Cancel::new()).unwrap().tree);
}

#[test]
fn what_is_not_as_it_was_listed_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a");
    let listed = || {
        std::fs::write(&file, b"1").unwrap();
        scan_context(&open(&directory), &Patterns::none(), &Unread::but(&NoneKnown), &Cancel::new()).unwrap().tree
    };
    let read = |tree: Tree| tree.read(&[path("a")].into(), &open(&directory), &NoneKnown, &Cancel::new()).map(|_| ());
    assert!(read(listed()).is_ok());
    let tree = listed();
    std::fs::write(&file, b"22").unwrap();
    assert!(matches!(read(tree), Err(ScanError::Changed { path: at }) if at == path("a")));
    let tree = listed();
    let state = || FileStamp::of(&std::fs::File::open(&file).unwrap()).unwrap();
    let before = state();
    // The clock of a file system may stand still for some time.
    while state() == before {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(matches!(read(tree), Err(ScanError::Changed { .. })), "the mode is that of the listing");
    let tree = listed();
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(read(tree), Err(ScanError::Disk(error)) if error.path == path("a")));
    let cancel = Cancel::new();
    cancel.cancel();
    let result = listed().read(&[path("a")].into(), &open(&directory), &NoneKnown, &cancel);
    assert!(matches!(result, Err(ScanError::Cancelled)));
}

#[derive(Default)]
struct Remembered {
    known: Mutex<std::collections::BTreeMap<FileStamp, Content>>,
    hits: std::sync::atomic::AtomicUsize,
}

impl KnownContents for Remembered {
    fn get(&self, stamp: &FileStamp) -> Option<Content> {
        let found = self.known.lock().unwrap().get(stamp).copied();
        self.hits.fetch_add(usize::from(found.is_some()), std::sync::atomic::Ordering::Relaxed);
        found
    }

    fn put(&self, stamp: FileStamp, content: Content) {
        self.known.lock().unwrap().insert(stamp, content);
    }
}

#[test]
fn a_file_that_is_too_young_is_not_remembered_and_one_that_is_known_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a"), b"1").unwrap();
    let known = Remembered::default();
    let first = scan(&open(&directory), &known, &Cancel::new()).unwrap();
    assert!(known.known.lock().unwrap().is_empty(), "it could change within the same tick");
    let listed = open(&directory).list(&TreePath::root()).unwrap();
    let Some(Node::File(file)) = first.tree.get(&path("a")) else { panic!("a is a file") };
    known.put(listed[0].status.stamp(), file.content);
    assert_eq!(scan(&open(&directory), &known, &Cancel::new()).unwrap(), first);
    assert_eq!(known.hits.load(std::sync::atomic::Ordering::Relaxed), 1);
    // The same size and the same modification time, but other bytes: only the change time tells.
    let modified = std::fs::metadata(directory.path().join("a")).unwrap().modified().unwrap();
    std::fs::write(directory.path().join("a"), b"2").unwrap();
    std::fs::File::options().write(true).open(directory.path().join("a")).unwrap().set_modified(modified).unwrap();
    let second = scan(&open(&directory), &known, &Cancel::new()).unwrap();
    assert_ne!(second.tree, first.tree);
}

#[test]
fn contents_that_are_not_what_was_read_first_are_refused() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("a"), b"right").unwrap();
    let handle = open(&source);
    let tree = scan_all(&handle).tree;
    for wrong in [&b"wrong"[..], b"right and more", b"ri"] {
        std::fs::write(source.path().join("a"), wrong).unwrap();
        let target = tempfile::tempdir().unwrap();
        let result = checkout_tree(&tree, &DirectoryContents(&handle), &open(&target), &Cancel::new());
        assert!(matches!(result, Err(CheckoutError::OtherContent { path: at }) if at == path("a")));
    }
}

#[test]
fn what_only_a_disk_can_hold_is_left_out_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    std::fs::write(directory.path().join("file"), b"1").unwrap();
    let scanned = scan_all(&open(&directory));
    assert_eq!(scanned.sockets, [path("socket")]);
    assert_eq!(scanned.tree.get(&path("socket")), None);
    let below = Tree::empty(plain(0o755));
    rustix::fs::mknodat(CWD, directory.path().join("device"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    let result = scan(&open(&directory), &NoneKnown, &Cancel::new());
    assert!(matches!(result, Err(ScanError::WhiteoutDevice { path: at }) if at == path("device")));
    assert!(read_upper(&below, &open(&directory), 0, &NoneKnown, &Cancel::new()).is_ok());
    std::fs::write(directory.path().join(".wh.x"), b"").unwrap();
    let result = read_upper(&below, &open(&directory), 0, &NoneKnown, &Cancel::new());
    assert!(matches!(result, Err(ScanError::WhiteoutName { path: at }) if at == path(".wh.x")));
    std::fs::remove_file(directory.path().join(".wh.x")).unwrap();
    rustix::fs::setxattr(directory.path().join("file"), "user.overlay.redirect", b"/x", rustix::fs::XattrFlags::empty()).unwrap();
    let result = read_upper(&below, &open(&directory), 0, &NoneKnown, &Cancel::new());
    assert!(matches!(result, Err(ScanError::Elsewhere { path: at, .. }) if at == path("file")));
}

#[test]
fn a_directory_that_is_left_out_is_not_even_listed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("node_modules/x")).unwrap();
    std::fs::create_dir_all(directory.path().join("src")).unwrap();
    let patterns = Patterns::new(["node_modules", "!src"]).unwrap();
    let watched = Watched::new(open(&directory));
    let scanned = scan_context(&watched, &patterns, &NoneKnown, &Cancel::new()).unwrap();
    assert_eq!(watched.listed.into_inner().unwrap(), [path(""), path("src")]);
    assert!(scanned.tree.get(&path("src")).is_some() && scanned.tree.get(&path("node_modules")).is_none());
}

#[test]
fn links_are_never_followed() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"x").unwrap();
    std::fs::set_permissions(outside.path().join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join("away")).unwrap();
    symlink(outside.path().join("secret"), directory.path().join("file")).unwrap();
    for one_by_one in [false, true] {
        let mut handle = open(&directory);
        handle.resolve_one_by_one(one_by_one);
        let wide = Metadata { uid: 12345, ..plain(0o777) };
        assert!(handle.open(&path("file")).is_err());
        assert!(handle.open(&path("away/secret")).is_err());
        assert!(handle.list(&path("away")).is_err());
        assert!(handle.create_file(&path("away/new")).is_err());
        assert!(handle.make_directory(&path("away/new")).is_err());
        assert!(handle.hard_link(&path("away/secret"), &path("new")).is_err());
        assert!(handle.set_metadata(&path("file"), NodeKind::File, &wide).is_err());
        assert!(handle.set_metadata(&path("file"), NodeKind::Special, &wide).is_err());
        assert!(handle.set_metadata(&path("away"), NodeKind::Directory, &wide).is_err());
        assert!(handle.set_metadata(&path("away/secret"), NodeKind::File, &wide).is_err());
        assert!(handle.set_opaque(&path("away")).is_err());
        handle.set_metadata(&path("away"), NodeKind::Symlink, &wide).unwrap();
        handle.remove(&path("away/secret")).unwrap();
        let listed = handle.list(&TreePath::root()).unwrap();
        assert!(listed.iter().all(|listed| matches!(listed.status.kind, ListedKind::Symlink { .. })));
        assert_eq!(std::fs::symlink_metadata(directory.path().join("away")).unwrap().uid(), 12345);
    }
    let secret = std::fs::metadata(outside.path().join("secret")).unwrap();
    assert_eq!((secret.mode() & 0o7777, secret.uid()), (0o600, 0));
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let handle = open(&directory);
    handle.make_directory(&path("d")).unwrap();
    handle.create_file(&path("d/a")).unwrap();
    std::fs::rename(directory.path().join("d"), directory.path().join("e")).unwrap();
    symlink(outside.path(), directory.path().join("d")).unwrap();
    // The parent may still be open, which is the directory that was meant; the link is not.
    drop(handle.create_file(&path("d/b")));
    assert!(open(&directory).create_file(&path("d/c")).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn directories_deeper_than_one_path_are_read_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let handle = open(&directory);
    let mut at = TreePath::root();
    let long = "x".repeat(200);
    for _ in 0..60 {
        at = path(&format!("{}{}{long}", at.to_string().trim_start_matches('/'), if at.is_root() { "" } else { "/" }));
        handle.make_directory(&at).unwrap();
    }
    drop(handle.create_file(&path(&format!("{}/f", at.to_string().trim_start_matches('/')))).unwrap());
    let tree = scan_all(&handle).tree;
    assert_eq!(tree.walk().count(), 62);
    handle.remove(&path(&long)).unwrap();
    assert_eq!(scan_all(&handle).tree.walk().count(), 1);
}

#[test]
fn what_is_nested_too_deep_is_refused_and_can_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    let handle = open(&directory);
    let mut at = "a".to_owned();
    for _ in 0..crate::tree::MAXIMUM_DEPTH {
        handle.make_directory(&path(&at)).unwrap();
        at.push_str("/a");
    }
    let result = scan(&handle, &NoneKnown, &Cancel::new());
    assert!(matches!(result, Err(ScanError::TooDeep { .. })));
    handle.remove(&path("a")).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn setting_metadata_takes_other_attributes_away() {
    let directory = tempfile::tempdir().unwrap();
    let handle = open(&directory);
    handle.make_directory(&path("d")).unwrap();
    drop(handle.create_file(&path("d/f")).unwrap());
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(directory.path().join("d/f"), "user.old", b"1", flags).unwrap();
    rustix::fs::setxattr(directory.path().join("d"), "trusted.overlay.origin", b"1", flags).unwrap();
    handle.set_opaque(&path("d")).unwrap();
    let capability = [&[1, 0, 0, 2][..], &[4, 0, 0, 0], &[0; 12]].concat();
    let xattrs = [(b"security.capability".to_vec(), capability), (b"user.new".to_vec(), b"2".to_vec())].into();
    let wanted = Metadata { mode: 0o4755, uid: 3, gid: 4, mtime: -5, xattrs };
    handle.set_metadata(&path("d/f"), NodeKind::File, &wanted).unwrap();
    let listed = handle.list(&path("d")).unwrap();
    let status = &listed[0].status;
    assert_eq!((status.mode, status.uid, status.gid, status.modified.seconds), (0o4755, 3, 4, -5));
    assert_eq!(status.xattrs, wanted.xattrs);
    handle.set_metadata(&path("d"), NodeKind::Directory, &plain(0o755)).unwrap();
    let found = rustix::fs::listxattr(directory.path().join("d"), &mut [0_u8; 256][..]).unwrap();
    assert_eq!(found, 0);
    assert!(handle.set_metadata(&path("d"), NodeKind::File, &plain(0o755)).is_err(), "it is a directory");
    assert!(open(&directory).ignoring_xattrs().list(&path("d")).unwrap()[0].status.xattrs.is_empty());
}

#[test]
fn one_inode_is_read_once_and_its_names_are_one_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a"), b"1").unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::hard_link(directory.path().join("a"), directory.path().join("d/b")).unwrap();
    std::fs::write(directory.path().join("c"), b"1").unwrap();
    // Another name outside what is scanned makes no group.
    let outside = tempfile::tempdir_in(directory.path().parent().unwrap()).unwrap();
    std::fs::hard_link(directory.path().join("c"), outside.path().join("c")).unwrap();
    let tree = scan_all(&open(&directory)).tree;
    assert_eq!(tree.links.groups(), [vec![path("a"), path("d/b")]]);
}

#[test]
fn a_cancelled_scan_ends_as_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a"), b"1").unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(matches!(scan(&open(&directory), &NoneKnown, &cancel), Err(ScanError::Cancelled)));
    let tree = tree_of(&[("a", crate::tree::arbitrary::file(b"a"))]);
    let target = tempfile::tempdir().unwrap();
    assert!(matches!(checkout_tree(&tree, &Samples, &open(&target), &cancel), Err(CheckoutError::Cancelled)));
}
