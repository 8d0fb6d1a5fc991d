//! What arrives where.

use super::*;
use crate::plan::StageId;
use crate::tree::arbitrary::{SAMPLES, Samples, content, directory, file, path, plain, symlink, tree_of};

const CRLF: &[u8] = SAMPLES[2];

fn context() -> TreeSource {
    TreeSource::Context(String::new())
}

fn asking(sources: &[&str], to: &str) -> Copy {
    Copy {
        from: context(),
        sources: sources.iter().map(|&source| source.to_owned()).collect(),
        to: to.to_owned(),
        owner: None,
        mode: ModeRule::Normal,
        exclude: Vec::new(),
        parents: false,
        unpack: false,
        newlines: Newlines::Keep,
        missing: Missing::Fail,
    }
}

fn run(wanted: &Copy, source: &Tree, below: &Tree) -> Result<Edited, StepError> {
    let selection = select(wanted, source, "the context")?;
    let edited = copy::<StepError>(wanted, &selection, below, &Accounts::new(below, &Samples), &Samples, &mut |_, _, _, _, _| Ok(false))?;
    for (at, node) in edited.above.walk() {
        let Node::File(file) = node else { continue };
        let is_below = matches!(below.get(&at), Some(Node::File(old)) if old.content == file.content);
        match edited.origins.of(&at, &file.content) {
            Some(Origin::Source(from)) => {
                let Some(Node::File(copied)) = source.get(&from) else { panic!("{at} comes from {from}") };
                assert_eq!(copied.content, file.content, "{at} comes from {from}");
            }
            Some(Origin::SourceLf(_)) if wanted.newlines == Newlines::Lf => {}
            None if is_below => {}
            other => panic!("{at} comes from {other:?}"),
        }
    }
    Ok(edited)
}

fn above(wanted: &Copy, source: &Tree, below: &Tree) -> Tree {
    run(wanted, source, below).unwrap().above
}

/// The paths of everything but the root, directories with a slash behind them.
fn listed(tree: &Tree) -> Vec<String> {
    let line = |(path, node): (TreePath, Node)| {
        let path = path.to_string();
        match node {
            Node::Directory(_) => format!("{path}/"),
            Node::Symlink(symlink) => format!("{path} -> {}", String::from_utf8_lossy(&symlink.target)),
            Node::File(_) | Node::Special(_) => path,
        }
    };
    tree.walk().skip(1).map(line).collect()
}

fn sources() -> Tree {
    tree_of(&[
        ("app/main.py", file(b"app/main.py")),
        ("app/sub/x.txt", file(b"app/sub/x.txt")),
        ("app/link", symlink("main.py")),
        ("other/y.txt", file(b"other/y.txt")),
        ("one.txt", file(b"one.txt")),
        ("two.txt", file(b"two.txt")),
        ("app-1.jar", file(b"app-1.jar")),
        ("current", symlink("app/main.py")),
        ("here", symlink("app/sub")),
        ("dangling", symlink("/nowhere")),
        ("empty/", directory()),
    ])
}

#[test]
fn what_is_copied_arrives_where_people_expect_it() {
    let below = tree_of(&[("existing/old", file(b"old")), ("to", symlink("/existing")), ("far", symlink("new/far"))]);
    let table: &[(&[&str], &str, &[&str])] = &[
        (&["one.txt"], "/x", &["/x"]),
        (&["one.txt"], "/x/", &["/x/", "/x/one.txt"]),
        (&["one.txt"], "/a/b/c", &["/a/", "/a/b/", "/a/b/c"]),
        (&["one.txt"], "/existing", &["/existing/one.txt"]),
        (&["one.txt"], "/to", &["/existing/one.txt"]),
        (&["one.txt"], "/to/z", &["/existing/z"]),
        (&["one.txt"], "/far/z", &["/new/", "/new/far/", "/new/far/z"]),
        (&["one.txt"], "/existing/old", &["/existing/old"]),
        (&["one.txt", "two.txt"], "/x", &["/x/", "/x/one.txt", "/x/two.txt"]),
        (&["app"], "/x", &["/x/", "/x/link -> main.py", "/x/main.py", "/x/sub/", "/x/sub/x.txt"]),
        (&["app/"], "/x/", &["/x/", "/x/link -> main.py", "/x/main.py", "/x/sub/", "/x/sub/x.txt"]),
        (&["app/sub", "other"], "/x", &["/x/", "/x/x.txt", "/x/y.txt"]),
        (&["./app/sub/"], "/existing", &["/existing/x.txt"]),
        (&["empty"], "/x", &["/x/"]),
        (&["*.txt"], "/x", &["/x/", "/x/one.txt", "/x/two.txt"]),
        (&["*.jar"], "/app.jar", &["/app.jar"]),
        (&["*.jar"], "/lib/", &["/lib/", "/lib/app-1.jar"]),
        (&["./*.jar", "missing*"], "/lib", &["/lib/", "/lib/app-1.jar"]),
        (&["**/x.txt"], "/x/", &["/x/", "/x/x.txt"]),
        (&["o*"], "/x", &["/x/", "/x/one.txt", "/x/y.txt"]),
        (&["current"], "/x/", &["/x/", "/x/current"]),
        (&["curr*"], "/x/", &["/x/", "/x/current"]),
        (&["here"], "/x", &["/x/", "/x/x.txt"]),
        (&["here/x.txt"], "/x", &["/x"]),
        (&["dang*"], "/x/", &["/x/", "/x/dangling -> /nowhere"]),
    ];
    for (from, to, expected) in table {
        let mut found = listed(&above(&asking(from, to), &sources(), &below));
        let kept = listed(&below);
        found.retain(|line| !kept.contains(line) || expected.contains(&line.as_str()));
        assert_eq!(found, *expected, "{from:?} to {to}");
    }
}

#[test]
fn parents_are_kept_where_that_is_wanted() {
    let below = tree_of(&[]);
    let wanted = |from: &[&str]| Copy { parents: true, ..asking(from, "/x") };
    assert_eq!(listed(&above(&wanted(&["app/sub/x.txt"]), &sources(), &below)), ["/x/", "/x/app/", "/x/app/sub/", "/x/app/sub/x.txt"]);
    assert_eq!(listed(&above(&wanted(&["app/sub"]), &sources(), &below)), ["/x/", "/x/app/", "/x/app/sub/", "/x/app/sub/x.txt"]);
    assert_eq!(
        listed(&above(&wanted(&["**/*.txt"]), &sources(), &below)),
        ["/x/", "/x/app/", "/x/app/sub/", "/x/app/sub/x.txt", "/x/one.txt", "/x/other/", "/x/other/y.txt", "/x/two.txt"]
    );
}

#[test]
fn what_is_excluded_does_not_arrive() {
    let below = tree_of(&[]);
    let wanted = Copy { exclude: vec!["**/*.txt".to_owned(), "!app/sub/x.txt".to_owned()], ..asking(&["."], "/x") };
    let found = listed(&above(&wanted, &sources(), &below));
    assert!(found.contains(&"/x/app/sub/x.txt".to_owned()) && !found.iter().any(|line| line.ends_with("one.txt")), "{found:?}");
    let all = Copy { exclude: vec!["one.txt".to_owned()], ..asking(&["one.txt"], "/x") };
    assert!(matches!(run(&all, &sources(), &below), Err(StepError::AllExcluded { .. })));
    let all = Copy { exclude: vec!["*.jar".to_owned()], ..asking(&["*.jar"], "/x") };
    assert!(matches!(run(&all, &sources(), &below), Err(StepError::AllExcluded { .. })));
}

#[test]
fn what_cannot_be_copied_is_named() {
    let below = tree_of(&[("dir/sub/x", file(b"a")), ("file", file(b"a")), ("link", symlink("/dir"))]);
    let message = |from: &[&str], to: &str| run(&asking(from, to), &sources(), &below).unwrap_err().to_string();
    assert_eq!(message(&["on.txt"], "/x"), "`on.txt` is not in the context; did you mean `one.txt`?");
    assert_eq!(message(&["ap/main.py"], "/x"), "`ap/main.py` is not in the context; did you mean `app`?");
    assert_eq!(message(&["app/maim.py"], "/x"), "`app/maim.py` is not in the context; did you mean `app/main.py`?");
    assert_eq!(message(&["dangling"], "/x"), "`dangling` is a link to `/nowhere`, which is not in the context");
    assert_eq!(message(&["zzz*"], "/x"), "nothing in the context matches `zzz*`");
    assert_eq!(message(&["../x"], "/x"), "`../x` climbs out of the root");
    assert_eq!(message(&["app"], "/file"), "cannot put a directory at `/file`: a file is there already");
    assert_eq!(message(&["one.txt"], "/file/"), "cannot put a directory at `/file`: a file is there already");
    let tree = tree_of(&[("sub", file(b"a")), ("in/dir", file(b"a")), ("in2/link/x", file(b"a"))]);
    let message = |from: &str, to: &str| run(&asking(&[from], to), &tree, &below).unwrap_err().to_string();
    assert_eq!(message("sub", "/dir/"), "cannot put a file at `/dir/sub`: a directory is there already");
    assert_eq!(message("in", "/"), "cannot put a file at `/dir`: a directory is there already");
    assert_eq!(message("in2", "/"), "cannot put a directory at `/link`: a symbolic link is there already");
}

#[test]
fn a_context_arrives_in_normal_form_and_an_image_as_it_is() {
    let odd = Metadata { mode: 0o4710, uid: 5, gid: 6, mtime: 3, xattrs: [(b"user.x".to_vec(), b"1".to_vec())].into() };
    let mut editor = Editor::new(&tree_of(&[("d/f", file(b"a"))]));
    editor.set_metadata(&path("d"), Metadata { mode: 0o700, ..odd.clone() }).unwrap();
    editor.set_metadata(&path("d/f"), odd.clone()).unwrap();
    editor.link(&path("d/f"), &path("d/g")).unwrap();
    let source = editor.finish();
    let below = tree_of(&[]);
    let of = |from: TreeSource, mode: ModeRule, owner: Option<&str>| {
        let wanted = Copy { from, mode, owner: owner.map(str::to_owned), ..asking(&["."], "/x") };
        let tree = above(&wanted, &source, &below);
        let at = |text: &str| {
            let Metadata { mode, uid, gid, mtime: _, xattrs } = tree.get(&path(text)).unwrap().metadata().clone();
            (mode, uid, gid, xattrs.len())
        };
        (at("x/d"), at("x/d/f"), tree.links.groups().len())
    };
    let stage = || TreeSource::Stage(StageId(0));
    assert_eq!(of(context(), ModeRule::Normal, None), ((0o755, 0, 0, 0), (0o755, 0, 0, 0), 0));
    assert_eq!(of(context(), ModeRule::Keep, None), ((0o700, 0, 0, 0), (0o4710, 0, 0, 0), 0));
    assert_eq!(of(context(), ModeRule::Set(0o640), Some("7:8")), ((0o750, 7, 8, 0), (0o640, 7, 8, 0), 0));
    assert_eq!(of(stage(), ModeRule::Normal, None), ((0o700, 5, 6, 1), (0o4710, 5, 6, 1), 1));
    assert_eq!(of(stage(), ModeRule::Set(0o644), Some("7")), ((0o755, 7, 7, 1), (0o644, 7, 7, 1), 1));
}

#[test]
fn existing_directories_named_as_destination_keep_their_metadata() {
    let mut editor = Editor::new(&tree_of(&[("srv/x", file(b"a"))]));
    editor.set_metadata(&path("srv"), Metadata { uid: 9, ..plain(0o711) }).unwrap();
    let below = editor.finish();
    let found = above(&Copy { owner: Some("5".to_owned()), ..asking(&["app"], "/srv") }, &sources(), &below);
    assert_eq!(found.get(&path("srv")).unwrap().metadata(), &Metadata { uid: 9, ..plain(0o711) });
    assert_eq!(found.get(&path("srv/main.py")).unwrap().metadata().uid, 5);
    assert_eq!(found.get(&path("srv/x")).unwrap().metadata().uid, 0);
}

#[test]
fn a_destination_that_is_missing_is_made_as_its_parents_are() {
    let mut editor = Editor::new(&tree_of(&[("from/x", file(b"a"))]));
    editor.set_metadata(&path("from"), Metadata { uid: 9, ..plain(0o700) }).unwrap();
    let source = editor.finish();
    for (owner, uid) in [(None, 0), (Some("5".to_owned()), 5)] {
        let from = TreeSource::Stage(StageId(0));
        let found = above(&Copy { from, owner, ..asking(&["from"], "/new/there") }, &source, &tree_of(&[]));
        for made in ["new", "new/there"] {
            let Metadata { mode, uid: owner, .. } = found.get(&path(made)).unwrap().metadata().clone();
            assert_eq!((mode, owner), (0o755, uid), "{made}");
        }
    }
}

#[test]
fn line_ends_are_changed_and_their_origin_is_remembered() {
    let source = tree_of(&[("text", file(CRLF)), ("binary", file(SAMPLES[3]))]);
    let below = tree_of(&[]);
    let edited = run(&Copy { newlines: Newlines::Lf, ..asking(&["."], "/x") }, &source, &below).unwrap();
    let Some(Node::File(found)) = edited.above.get(&path("x/text")) else { panic!("it is a file") };
    assert_eq!(found.content, content(b"line\nline\n"));
    let origin = |at: &str, bytes: &[u8]| edited.origins.of(&path(at), &content(bytes));
    assert_eq!(origin("x/text", b"line\nline\n"), Some(Origin::SourceLf(path("text"))));
    assert_eq!(origin("x/binary", SAMPLES[3]), Some(Origin::SourceLf(path("binary"))));
}

#[test]
fn bytes_that_changed_since_they_were_named_are_refused() {
    struct Other;
    impl Contents for Other {
        fn open(&self, _: &TreePath, _: &crate::tree::Content) -> std::io::Result<Box<dyn std::io::Read + Send>> {
            Ok(Box::new(&b"other"[..]))
        }
    }
    let source = tree_of(&[("text", file(CRLF))]);
    let below = tree_of(&[]);
    let wanted = Copy { newlines: Newlines::Lf, ..asking(&["text"], "/x") };
    let selection = select(&wanted, &source, "the context").unwrap();
    let result = copy(&wanted, &selection, &below, &Accounts::new(&below, &Samples), &Other, &mut |_, _, _, _, _| Ok(false));
    assert!(matches!(result, Err(StepError::Changed { path: at }) if at == path("text")));
}

#[test]
fn a_selection_is_named_by_what_arrives() {
    let of = |from: &[&str], tree: &Tree| select(&asking(from, "/x"), tree, "the context").unwrap().fingerprint();
    let mut editor = Editor::new(&sources());
    editor.set_metadata(&path("one.txt"), Metadata { uid: 3, mtime: 99, ..plain(0o600) }).unwrap();
    editor.put(&path("two.txt"), file(b"")).unwrap();
    let touched = editor.finish();
    assert_eq!(of(&["one.txt"], &sources()), of(&["one.txt"], &touched), "owner, time and umask do not count");
    assert_ne!(of(&["two.txt"], &sources()), of(&["two.txt"], &touched));
    assert_ne!(of(&["*.txt"], &sources()), of(&["*.txt"], &touched));
    assert_ne!(of(&["one.txt"], &sources()), of(&["two.txt"], &sources()), "the name arrives too");
}

#[test]
fn sources_that_meet_in_one_directory_are_each_found_again() {
    let source = tree_of(&[
        ("one/both/a", file(b"1a")),
        ("one/both/deep/x", file(b"1x")),
        ("one/f", file(b"1f")),
        ("two/both/b", file(b"2b")),
        ("two/both/deep/x", file(b"2x")),
        ("two/new/deep/y", file(b"2y")),
        ("two/f", file(b"2f")),
        ("three/both/deep/z", file(b"3z")),
        ("three/new/n", file(b"3n")),
    ]);
    let below = tree_of(&[("x/both/old", file(b"0"))]);
    for owner in [None, Some("7:8".to_owned())] {
        let edited = run(&Copy { owner, ..asking(&["one", "two", "three"], "/x") }, &source, &below).unwrap();
        let expected = [
            ("x/both/a", "1a"),
            ("x/both/b", "2b"),
            ("x/both/deep/x", "2x"),
            ("x/both/deep/z", "3z"),
            ("x/both/old", "0"),
            ("x/f", "2f"),
            ("x/new/deep/y", "2y"),
            ("x/new/n", "3n"),
        ];
        for (at, bytes) in expected {
            let Some(Node::File(file)) = edited.above.get(&path(at)) else { panic!("{at}") };
            assert_eq!(file.content, content(bytes.as_bytes()), "{at}");
        }
    }
}

#[test]
fn what_arrives_as_it_is_is_shared_with_its_source() {
    let source = tree_of(&[("app/sub/x", file(b"1")), ("odd/y", file(b"2"))]);
    let mut editor = Editor::new(&source.normalised(Modes::ByExecuteBit, 0));
    editor.set_metadata(&path("odd/y"), plain(0o600)).unwrap();
    let source = editor.finish();
    let above = above(&asking(&["."], "/x"), &source, &tree_of(&[]));
    let shared = |at: &str, from: &str| match (above.get(&path(at)), source.get(&path(from))) {
        (Some(Node::Directory(at)), Some(Node::Directory(from))) => Arc::ptr_eq(&at, &from),
        (_, _) => panic!("{at} and {from} are directories"),
    };
    assert!(shared("x/app", "app"));
    assert!(!shared("x/odd", "odd"));
}
