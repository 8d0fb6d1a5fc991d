//! What steps without a source do to a tree.

use super::link::link;
use super::make_directory::make_directory;
use super::remove::remove;
use super::write::write;
use super::*;
use crate::build::accounts::Accounts;
use crate::plan::{Link, LinkKind, MakeDirectory, Missing, Remove, Write};
use crate::tree::Node;
use crate::tree::arbitrary::{Samples, content, file, path, plain, symlink, tree_of};

fn below() -> Tree {
    tree_of(&[("data/x", file(b"a")), ("data/y", file(b"a")), ("link", symlink("/data")), ("name", symlink("data/x"))])
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.walk().skip(1).map(|(path, _)| path.to_string()).collect()
}

#[test]
fn a_file_is_written_through_links_with_its_owner_and_mode() {
    let wanted =
        |path: &str| Write { path: path.to_owned(), content: b"hello".to_vec(), owner: Some("3:4".to_owned()), mode: 0o600, name: None };
    let run = |at: &str| write(&wanted(at), &below(), &Accounts::new(&below(), &Samples));
    let edited = run("/link/new/f").unwrap();
    let Some(Node::File(found)) = edited.above.get(&path("data/new/f")) else { panic!("it is a file") };
    assert_eq!((found.content, (*found.metadata).clone()), (content(b"hello"), made(0o600, Owner { uid: 3, gid: 4 })));
    assert_eq!(edited.above.get(&path("data/new")).unwrap().metadata(), &parents());
    assert_eq!(edited.origins.of(&path("data/new/f"), &content(b"hello")), Some(Origin::Bytes(b"hello".as_slice().into())));
    let through = run("/name").unwrap().above;
    assert!(matches!(through.get(&path("data/x")), Some(Node::File(found)) if found.content == content(b"hello")));
    assert!(matches!(through.get(&path("name")), Some(Node::Symlink(_))));
    assert!(matches!(run("/data"), Err(StepError::InTheWay { .. })));
    assert!(run("/data/x/f").is_err());
}

#[test]
fn directories_that_exist_change_only_where_that_is_asked_for() {
    let run = |at: &str, owner: Option<&str>, mode| {
        let make = MakeDirectory { paths: vec![at.to_owned()], owner: owner.map(str::to_owned), owner_of_new: None, mode };
        make_directory(&make, &below(), &Accounts::new(&below(), &Samples)).map(|edited| edited.above)
    };
    assert_eq!(run("/link", None, None).unwrap(), below());
    let changed = run("/link", Some("5"), Some(0o700)).unwrap();
    assert_eq!(changed.get(&path("data")).unwrap().metadata(), &Metadata { uid: 5, gid: 5, ..plain(0o700) });
    let new = run("/a/b", Some("5"), Some(0o700)).unwrap();
    assert_eq!(new.get(&path("a")).unwrap().metadata(), &parents());
    assert_eq!(new.get(&path("a/b")).unwrap().metadata(), &made(0o700, Owner { uid: 5, gid: 5 }));
    assert!(run("/data/x", None, None).is_err());
}

#[test]
fn an_owner_of_what_is_new_is_that_of_parents_too_and_of_nothing_that_exists() {
    let run = |at: &str| {
        let make = MakeDirectory { paths: vec![at.to_owned()], owner: None, owner_of_new: Some("5:6".to_owned()), mode: None };
        make_directory(&make, &below(), &Accounts::new(&below(), &Samples)).map(|edited| edited.above).unwrap()
    };
    assert_eq!(run("/data"), below());
    let above = run("/data/a/b");
    let new = made(0o755, Owner { uid: 5, gid: 6 });
    assert_eq!(above.get(&path("data")).unwrap().metadata(), below().get(&path("data")).unwrap().metadata());
    assert_eq!(above.get(&path("data/a")).unwrap().metadata(), &new);
    assert_eq!(above.get(&path("data/a/b")).unwrap().metadata(), &new);
}

#[test]
fn links_are_made_in_place_of_files_and_never_of_directories() {
    let run = |at: &str, target: &str, kind| {
        link(&Link { path: at.to_owned(), target: target.to_owned(), kind }, &below()).map(|edited| edited.above)
    };
    let made = run("/link/deep/l", "../x", LinkKind::Symbolic).unwrap();
    assert_eq!(
        made.get(&path("data/deep/l")),
        Some(Node::Symlink(crate::tree::Symlink { metadata: super::made(0o777, Owner::default()), target: b"../x".as_slice().into() }))
    );
    assert!(
        matches!(run("/name", "data/y", LinkKind::Symbolic).unwrap().get(&path("name")), Some(Node::Symlink(found)) if *found.target == *b"data/y")
    );
    let hard = run("/second", "/link/x", LinkKind::Hard).unwrap();
    assert_eq!(hard.links.groups(), [vec![path("data/x"), path("second")]]);
    assert!(matches!(run("/data", "x", LinkKind::Symbolic), Err(StepError::InTheWay { .. })));
    assert!(matches!(run("/l", "/nowhere", LinkKind::Hard), Err(StepError::Edit(EditError::Missing { .. }))));
    assert!(matches!(run("/l", "/data", LinkKind::Hard), Err(StepError::Edit(EditError::LinkToDirectory { .. }))));
}

#[test]
fn what_is_removed_is_what_was_named() {
    let run = |paths: &[&str], missing| {
        let wanted = Remove { paths: paths.iter().map(|&path| path.to_owned()).collect(), missing };
        remove(&wanted, &below()).map(|edited| self::paths(&edited.above))
    };
    assert_eq!(run(&["/data"], Missing::Fail).unwrap(), ["/link", "/name"]);
    assert_eq!(run(&["/link"], Missing::Fail).unwrap(), ["/data", "/data/x", "/data/y", "/name"], "a link itself, not what it leads to");
    assert_eq!(run(&["/link/x", "/name"], Missing::Fail).unwrap(), ["/data", "/data/y", "/link"]);
    assert_eq!(run(&["/data/*"], Missing::Fail).unwrap(), ["/data", "/link", "/name"]);
    assert_eq!(run(&["/*/"], Missing::Fail).unwrap(), [""; 0]);
    assert_eq!(run(&["/z", "/z*"], Missing::Ignore).unwrap(), paths(&below()));
    assert!(matches!(run(&["/z"], Missing::Fail), Err(StepError::NothingToRemove { .. })));
    assert!(matches!(run(&["/z*"], Missing::Fail), Err(StepError::NothingToRemove { .. })));
    assert!(matches!(run(&["/"], Missing::Fail), Err(StepError::RemovesRoot)));
}
