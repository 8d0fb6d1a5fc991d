//! Rules that hold between values, without a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapstrake_cache::Fingerprint;
use proptest::prelude::*;

use crate::tree::arbitrary::{directory, file, pair, path, plain, symlink, tree, tree_of};
use crate::tree::{
    Change, Difference, EditError, Editor, Entry, InvalidDifference, LastLink, Links, MAXIMUM_DEPTH, Metadata, Modes, Name, Node, Patterns,
    Sharing, Tree, TreePath,
};

fn entries(tree: &Tree) -> BTreeMap<TreePath, Entry> {
    tree.walk().map(|(path, node)| (path, node.entry())).collect()
}

fn timeless(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.metadata_mut().mtime = 0;
    entry
}

fn partners(tree: &Tree, path: &TreePath) -> BTreeSet<TreePath> {
    let group = tree.links.groups().iter().find(|group| group.contains(path));
    group.into_iter().flatten().cloned().chain([path.clone()]).collect()
}

/// The names that differ, found the slow way.
fn changed(below: &Tree, above: &Tree) -> BTreeSet<TreePath> {
    let (old, new) = (entries(below), entries(above));
    let differs = |path: &TreePath, entry: &Entry| {
        old.get(path).map(timeless) != Some(timeless(entry)) || !partners(above, path).is_subset(&partners(below, path))
    };
    new.iter().filter(|(path, entry)| differs(path, entry)).map(|(path, _)| path.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn applying_a_difference_gives_the_tree_above_with_the_times_below((below, above) in pair()) {
        let changed = changed(&below, &above);
        let applied = below.apply(&Difference::between(&below, &above));
        let old = entries(&below);
        let expected: BTreeMap<TreePath, Entry> = entries(&above)
            .into_iter()
            .map(|(path, entry)| {
                let entry = if changed.contains(&path) { entry } else { old[&path].clone() };
                (path, entry)
            })
            .collect();
        prop_assert_eq!(entries(&applied), expected);
        for path in entries(&above).keys() {
            let from = if changed.contains(path) { &above } else { &below };
            let expected: BTreeSet<TreePath> = partners(from, path)
                .into_iter()
                .filter(|other| applied.get(other).is_some() && changed.contains(other) == changed.contains(path))
                .collect();
            prop_assert_eq!(partners(&applied, path), expected, "{}", path);
        }
    }

    #[test]
    fn a_difference_holds_the_changes_and_their_ancestors_and_nothing_else((below, above) in pair()) {
        let difference = Difference::between(&below, &above);
        prop_assert_eq!(difference.check(), Ok(()));
        let mut expected = changed(&below, &above);
        let gone = entries(&below).into_keys().filter(|path| {
            above.get(path).is_none() && path.parent().is_some_and(|parent| matches!(above.get(&parent), Some(Node::Directory(_))))
        });
        expected.extend(gone);
        let mut ancestors = BTreeSet::new();
        for path in &expected {
            let mut at = path.clone();
            while let Some(parent) = at.parent() {
                ancestors.insert(parent.clone());
                at = parent;
            }
        }
        expected.extend(ancestors);
        prop_assert_eq!(difference.entries.keys().cloned().collect::<BTreeSet<_>>(), expected);
        prop_assert!(difference.opaque.is_empty());
    }

    #[test]
    fn differences_do_not_depend_on_how_a_change_was_found((below, above) in pair()) {
        let difference = Difference::between(&below, &above);
        let again = Difference::between(&below, &below.apply(&difference));
        prop_assert_eq!(&again, &difference);
        prop_assert!(Difference::between(&above, &above).is_empty());
        // A tree that was read anew shares nothing with the one it is compared with.
        let copy = below.apply(&Difference::default()).normalised(Modes::Keep, 0);
        prop_assert!(Difference::between(&copy, &below.normalised(Modes::Keep, 5)).is_empty());
        let settled = above.settled(&below, 99);
        prop_assert_eq!(settled.settled(&below, 99), settled.clone());
        prop_assert_eq!(Difference::between(&below, &settled), difference.dated(&below, 99));
    }

    #[test]
    fn canonical_bytes_are_read_back((below, above) in pair()) {
        let mut difference = Difference::between(&below, &above);
        let directories = difference.entries.iter().filter(|(_, change)| matches!(change, Change::Put(Entry::Directory(_))));
        difference.opaque = directories.map(|(path, _)| path.clone()).skip(1).step_by(2).collect();
        let bytes = difference.encode();
        let back = Difference::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &difference);
        prop_assert_eq!(difference.named(), (Fingerprint::of(&bytes), bytes.len() as u64));
        let mut written = Vec::new();
        difference.encode_to(&mut written).unwrap();
        prop_assert_eq!(&written, &bytes);
        for end in 0..bytes.len() {
            prop_assert!(Difference::decode(&bytes[..end]).is_err());
        }
        prop_assert_eq!(Difference::decode(&[&bytes[..], b"\0"].concat()), Err(InvalidDifference::Long));
    }

    #[test]
    fn whatever_is_decoded_has_one_encoding(
        (below, above) in pair(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = Difference::between(&below, &above).encode();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(difference) = Difference::decode(&bytes) {
            prop_assert_eq!(difference.encode(), bytes);
            drop(below.apply(&difference));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [b"lapstrake difference 1\n".as_slice(), &bytes].concat();
        if let Ok(difference) = Difference::decode(&bytes) {
            prop_assert_eq!(difference.encode(), bytes);
        }
    }

    #[test]
    fn a_subtree_that_is_taken_out_and_put_back_changes_nothing(tree in tree(), at in any::<prop::sample::Index>()) {
        let directories: Vec<TreePath> =
            tree.walk().filter(|(_, node)| matches!(node, Node::Directory(_))).map(|(path, _)| path).collect();
        let at = at.get(&directories);
        let mut editor = Editor::new(&tree);
        editor.graft(at, &tree.subtree(at).unwrap()).unwrap();
        let inside = |path: &TreePath| path.starts_with(at);
        let outside = |path: &TreePath| !path.starts_with(at);
        let links = tree.links.retained(inside).groups().iter().chain(tree.links.retained(outside).groups()).cloned().collect::<Vec<_>>();
        prop_assert_eq!(editor.finish(), Tree { root: tree.root, links: Links::new(links) });
    }

    #[test]
    fn discarding_everything_gives_the_tree_below((below, above) in pair()) {
        let discarded = above.discarding(&below, &Patterns::new(["**"]).unwrap()).settled(&below, 99);
        // The root itself is never matched.
        let mut editor = Editor::new(&below);
        let root = above.settled(&below, 99).root.metadata.clone();
        let same = timeless(&Entry::Directory(root.clone())) == timeless(&Entry::Directory(below.root.metadata.clone()));
        editor.set_metadata(&TreePath::root(), if same { below.root.metadata.clone() } else { root }).unwrap();
        prop_assert_eq!(discarded, editor.finish());
    }
}

#[test]
fn an_opaque_directory_keeps_nothing_of_what_is_below() {
    let below = tree_of(&[("d/old", file(b"1")), ("d/e/old", file(b"1")), ("x", file(b"2"))]);
    let above = tree_of(&[("d/new", file(b"3"))]);
    let mut difference = Difference::between(&Tree::empty(plain(0o755)), &above);
    difference.opaque.insert(path("d"));
    let applied = below.apply(&difference);
    assert_eq!(applied, tree_of(&[("d/new", file(b"3")), ("x", file(b"2"))]));
}

#[test]
fn a_name_that_loses_its_partners_has_not_changed() {
    let mut editor = Editor::new(&tree_of(&[("a", file(b"1"))]));
    editor.link(&path("a"), &path("b")).unwrap();
    editor.link(&path("a"), &path("c")).unwrap();
    let below = editor.clone().finish();
    editor.put(&path("a"), file(b"2")).unwrap();
    let difference = Difference::between(&below, &editor.finish());
    assert_eq!(difference.entries.keys().map(ToString::to_string).collect::<Vec<_>>(), ["/", "/a"]);
    assert!(difference.links.is_empty());
    assert_eq!(below.apply(&difference).links.groups(), [vec![path("b"), path("c")]]);
}

#[test]
fn a_name_that_gains_a_partner_has_changed_with_all_of_its_group() {
    let below = tree_of(&[("a", file(b"1")), ("d/b", file(b"1"))]);
    let mut editor = Editor::new(&below);
    editor.link(&path("a"), &path("d/b")).unwrap();
    let difference = Difference::between(&below, &editor.finish());
    assert_eq!(difference.entries.keys().map(ToString::to_string).collect::<Vec<_>>(), ["/", "/a", "/d", "/d/b"]);
    assert_eq!(difference.links.groups(), [vec![path("a"), path("d/b")]]);
}

#[test]
fn differences_that_break_a_rule_are_refused() {
    let put = |at: &str, node: Node| (path(at), Change::Put(node.entry()));
    let root = || put("", directory());
    let of = |entries: Vec<(TreePath, Change)>| Difference { entries: entries.into_iter().collect(), ..Difference::default() };
    let mut two_links = of(vec![root(), put("a", file(b"1")), put("b", file(b"2"))]);
    two_links.links = Links::new([vec![path("a"), path("b")]]);
    let mut opaque_file = of(vec![root(), put("a", file(b"1"))]);
    opaque_file.opaque.insert(path("a"));
    let device =
        Node::Special(crate::tree::Special { metadata: plain(0o600), kind: crate::tree::SpecialKind::Character { major: 0, minor: 0 } });
    let deep = "a/".repeat(MAXIMUM_DEPTH) + "a";
    let mut deep_entries = vec![root()];
    let mut at = TreePath::root();
    for name in path(&deep).names() {
        at.push(&name);
        deep_entries.push((at.clone(), Change::Put(directory().entry())));
    }
    let cases = [
        of(vec![put("a", file(b"1"))]),
        of(vec![root(), put("a/b", file(b"1"))]),
        of(vec![root(), put("a", file(b"1")), put("a/b", file(b"1"))]),
        of(vec![root(), (path("a"), Change::Whiteout), put("a/b", file(b"1"))]),
        of(vec![(path(""), Change::Whiteout)]),
        of(vec![put("", file(b"1"))]),
        of(vec![root(), put("a", device)]),
        of(vec![root(), put("a", symlink(""))]),
        of(vec![root(), put("a", Node::Symlink(crate::tree::Symlink { metadata: plain(0o755), target: b"x".as_slice().into() }))]),
        of(vec![root(), (path("a"), Change::Put(Entry::Directory(Metadata { mode: 0o10000, ..plain(0) })))]),
        of(deep_entries),
        two_links,
        opaque_file,
    ];
    for case in cases {
        assert!(case.check().is_err(), "{case:?}");
        assert!(Difference::decode(&case.encode()).is_err(), "{case:?}");
    }
}

#[test]
fn names_that_stand_for_removed_files_are_found() {
    let empty = Tree::empty(plain(0o755));
    let with = |name: &str| Difference::between(&empty, &tree_of(&[(name, file(b"1"))]));
    assert_eq!(with("a/.wh.b").reserved_name(), Some(&path("a/.wh.b")));
    assert_eq!(with(".wh.d/b").reserved_name(), Some(&path(".wh.d")));
    assert_eq!(with("a/x.wh.b").reserved_name(), None);
}

#[test]
fn links_are_resolved_inside_the_tree() {
    let tree = tree_of(&[
        ("data/inner/file", file(b"1")),
        ("absolute", symlink("/data")),
        ("climbing", symlink("../../../../data/inner")),
        ("data/up", symlink("..")),
        ("dangling", symlink("/nowhere/at/all")),
        ("loop", symlink("loop")),
        ("ping", symlink("pong/x")),
        ("pong", symlink("ping")),
        ("last", symlink("data/inner/file")),
        ("file", file(b"1")),
    ]);
    let table: &[(&str, &str)] = &[
        ("absolute/inner", "/data/inner"),
        ("/absolute/inner/", "/data/inner"),
        ("climbing/file", "/data/inner/file"),
        ("data/up/data/up/file", "/file"),
        ("dangling/x", "/nowhere/at/all/x"),
        ("last", "/data/inner/file"),
        ("absolute/../file", "/file"),
        ("climbing/../x", "/data/x"),
        ("new/path", "/new/path"),
        ("file/x", "/file/x"),
        ("", "/"),
        ("./data/./inner", "/data/inner"),
    ];
    for (given, expected) in table {
        assert_eq!(tree.resolve(given.as_bytes(), LastLink::Follow).unwrap().to_string(), *expected, "{given}");
    }
    assert_eq!(tree.resolve(b"absolute/up", LastLink::Keep).unwrap(), path("data/up"));
    assert!(matches!(tree.resolve(b"loop/x", LastLink::Follow), Err(EditError::TooManyLinks { .. })));
    assert!(matches!(tree.resolve(b"ping", LastLink::Follow), Err(EditError::TooManyLinks { .. })));
    assert!(matches!(tree.resolve(b"../x", LastLink::Follow), Err(EditError::Climbs { .. })));
    assert!(matches!(tree.resolve(b"data/../../x", LastLink::Follow), Err(EditError::Climbs { .. })));
    assert!(tree.resolve(b"a\0b", LastLink::Follow).is_err());
}

#[test]
fn a_name_is_not_put_in_place_of_what_it_names() {
    let tree = tree_of(&[("d/f", file(b"1"))]);
    let mut editor = Editor::new(&tree);
    assert_eq!(editor.link(&path("d/f"), &path("d")), Err(EditError::Missing { path: path("d/f") }));
    assert_eq!(editor.link(&path("d/f"), &path("d/f")), Ok(()));
    assert_eq!(editor.finish(), tree);
}

#[test]
fn missing_parents_are_made_through_links_and_existing_ones_are_left_alone() {
    let tree = tree_of(&[("data/x", file(b"1")), ("link", symlink("/data")), ("file", file(b"1"))]);
    let mut editor = Editor::new(&tree);
    let made = editor.make_directories(b"/link/new/deep", &Metadata { mtime: 3, ..plain(0o750) }).unwrap();
    assert_eq!(made, path("data/new/deep"));
    assert!(matches!(editor.make_directories(b"file/x", &plain(0o755)), Err(EditError::NotADirectory { .. })));
    let after = editor.finish();
    assert_eq!(after.get(&path("data")).unwrap().metadata(), &plain(0o755));
    assert_eq!(after.get(&path("data/new")).unwrap().metadata(), &Metadata { mtime: 3, ..plain(0o750) });
    assert_eq!(tree.get(&path("data/new")), None, "the tree it was made from stays as it is");
}

#[test]
fn an_edited_directory_has_another_fingerprint() {
    let tree = tree_of(&[("d/a", file(b"1"))]);
    let before = tree.fingerprint();
    let mut editor = Editor::new(&tree);
    drop(tree);
    editor.put(&path("d/a"), file(b"2")).unwrap();
    assert_ne!(editor.finish().fingerprint(), before);
}

#[test]
fn trees_are_not_nested_deeper_than_an_ordinary_stack() {
    let mut editor = Editor::new(&Tree::empty(plain(0o755)));
    let deep = "a/".repeat(MAXIMUM_DEPTH - 1) + "a";
    editor.make_directories(deep.as_bytes(), &plain(0o755)).unwrap();
    let one_more = "a/".repeat(MAXIMUM_DEPTH) + "a";
    assert!(matches!(editor.make_directories(one_more.as_bytes(), &plain(0o755)), Err(EditError::TooDeep { .. })));
    let tree = editor.clone().finish();
    assert!(matches!(editor.graft(&path("b"), &tree), Err(EditError::TooDeep { .. })));
    let difference = Difference::between(&Tree::empty(plain(0o755)), &tree);
    assert_eq!(Difference::decode(&difference.encode()).unwrap(), difference);
    assert_eq!(Tree::empty(plain(0o755)).apply(&difference), tree);
    assert_eq!(tree.normalised(Modes::Keep, 1).normalised(Modes::Keep, 0), tree.normalised(Modes::Keep, 0));
}

#[test]
fn the_normal_form_keeps_names_bytes_and_the_execute_bit() {
    let odd = Metadata { mode: 0o4711, uid: 5, gid: 6, mtime: 7, xattrs: [(b"user.x".to_vec(), b"1".to_vec())].into() };
    let mut editor = Editor::new(&tree_of(&[("d/run", file(b"1")), ("d/read", file(b"1")), ("l", symlink("d"))]));
    editor.set_metadata(&path("d"), Metadata { mode: 0o2700, ..odd.clone() }).unwrap();
    editor.set_metadata(&path("d/run"), odd.clone()).unwrap();
    editor.set_metadata(&path("d/read"), Metadata { mode: 0o600, ..odd }).unwrap();
    editor.link(&path("d/run"), &path("d/same")).unwrap();
    let tree = editor.finish();
    let modes = |modes: Modes| -> Vec<(String, u16)> {
        let normal = tree.normalised(modes, 9);
        assert!(normal.links.is_empty());
        normal
            .walk()
            .map(|(path, node)| {
                assert_eq!(node.metadata(), &Metadata { mtime: 9, mode: node.metadata().mode, ..plain(0) });
                (path.to_string(), node.metadata().mode)
            })
            .collect()
    };
    let expect = |modes: [u16; 6]| -> Vec<(String, u16)> {
        ["/", "/d", "/d/read", "/d/run", "/d/same", "/l"].map(str::to_owned).into_iter().zip(modes).collect()
    };
    assert_eq!(modes(Modes::ByExecuteBit), expect([0o755, 0o755, 0o644, 0o755, 0o755, 0o777]));
    assert_eq!(modes(Modes::Keep), expect([0o755, 0o2700, 0o600, 0o4711, 0o4711, 0o777]));
    assert_eq!(modes(Modes::Set(0o640)), expect([0o750, 0o750, 0o640, 0o640, 0o640, 0o777]));
    assert_eq!(modes(Modes::Set(0o4755)), expect([0o755, 0o755, 0o4755, 0o4755, 0o4755, 0o777]));
}

#[test]
fn discarded_changes_are_as_below() {
    let below = tree_of(&[("var/log/dpkg.log", file(b"1")), ("var/log/gone", file(b"1")), ("etc/x", file(b"1"))]);
    let above = tree_of(&[("var/log/dpkg.log", file(b"2")), ("var/log/new/apt.log", file(b"2")), ("etc/x", file(b"2"))]);
    let discarded = above.discarding(&below, &Patterns::new(["/var/log/**"]).unwrap());
    let expected = tree_of(&[("var/log/dpkg.log", file(b"1")), ("var/log/gone", file(b"1")), ("etc/x", file(b"2"))]);
    assert_eq!(discarded, expected);
}

#[test]
fn an_entry_of_a_tree_takes_little_room() {
    // Trees of many files are what a build's memory is spent on.
    assert!(size_of::<(Name, Node)>() <= 24 + 56);
    assert!(size_of::<(TreePath, Change)>() <= 16 + 56);
}

#[test]
fn files_beside_each_other_have_their_metadata_together() {
    let mut sharing = Sharing::default();
    let first = sharing.share(plain(0o644));
    for mode in [0o755, 0o644, 0o755, 0o600, 0o644] {
        let shared = sharing.share(plain(mode));
        assert_eq!(*shared, plain(mode));
        assert_eq!(Arc::ptr_eq(&shared, &first), mode == 0o644);
    }
    for mode in 0..100 {
        assert_eq!(*sharing.share(plain(mode)), plain(mode));
    }
}

#[test]
fn names_are_the_same_in_any_length() {
    let names: Vec<Name> = (1..=255).map(|length| Name::new(&vec![b'a'; length]).unwrap()).collect();
    assert!(names.is_sorted_by(|one, other| one < other));
    for (name, length) in names.iter().zip(1..) {
        assert_eq!(name.as_bytes(), vec![b'a'; length]);
        assert_eq!(TreePath::root().join(name).name().as_ref(), Some(name));
    }
}
