//! What is done over a part of a tree comes to what is done over all of it.

use proptest::prelude::*;

use super::*;
use crate::build::accounts::Accounts;
use crate::build::steps::copy::{self, select};
use crate::build::steps::{make_directory, write};
use crate::plan::{self, Missing, ModeRule, Newlines, TreeSource};
use crate::remote::Listing;
use crate::tree::arbitrary::{Samples, pair, path, tree};
use crate::tree::{Difference, Editor, Metadata, Xattrs};

/// The layers that lead to a tree, as pages or whole.
fn glimpse(layers: &[(Difference, bool)]) -> Glimpse<'_> {
    let views = layers.iter().map(|(difference, is_whole)| match Listing::of(difference, &mut |_, _| None) {
        Some(Listing { bytes, root }) if !is_whole => View::Pages {
            root,
            find: Box::new(move |pointer| {
                let range = pointer.range();
                Page::read(&bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()], pointer)
            }),
        },
        Some(_) | None => View::Whole(Box::new(difference.clone())),
    });
    Glimpse { views: views.collect(), claims: Vec::new(), pages: Mutex::default() }
}

/// What a step does to a tree.
fn step(kind: u8, source: &Tree, names: (&str, &str), to: &str, below: &Tree) -> Result<Tree, Failure> {
    let accounts = Accounts::new(below, &Samples);
    Ok(match kind {
        0 => {
            let wanted = plan::Copy {
                from: TreeSource::Context(String::new()),
                sources: vec![names.0.to_owned(), names.1.to_owned()].into_iter().filter(|name| !name.is_empty()).collect(),
                to: to.to_owned(),
                owner: None,
                mode: ModeRule::Keep,
                exclude: Vec::new(),
                parents: to.len().is_multiple_of(2),
                unpack: false,
                newlines: Newlines::Keep,
                missing: Missing::Fail,
            };
            let selection = select(&wanted, source, "the context")?;
            copy::copy::<Failure>(&wanted, &selection, below, &accounts, &Samples, &mut |_, _, _, _, _| Ok(false))?.above
        }
        1 => {
            let wanted = plan::Write { path: to.to_owned(), content: b"a".to_vec(), owner: None, mode: 0o600, name: None };
            write::write(&wanted, below, &accounts)?.above
        }
        _ => {
            let mode = (kind == 2).then_some(0o711);
            let wanted = plan::MakeDirectory { paths: vec![to.to_owned()], owner: None, owner_of_new: None, mode };
            make_directory::make_directory(&wanted, below, &accounts)?.above
        }
    })
}

fn place() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "..", "x y"]), 0..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_part_of_a_tree_gives_what_the_whole_gives(
        (first, second) in pair(),
        source in tree(),
        names in (prop::sample::select(vec!["", "a", "b", "."]), prop::sample::select(vec!["", "a", "c", "a*", "*"])),
        kind in 0_u8..4,
        to in place(),
        slash: bool,
        whole: (bool, bool),
    ) {
        prop_assume!(kind != 0 || names != ("", ""));
        let to = if slash { format!("{to}/") } else { to };
        let nothing = Layers::nothing();
        let layers = [(Difference::between(&nothing, &first), whole.0), (Difference::between(&first, &second), whole.1)];
        let below = nothing.apply(&layers[0].0).apply(&layers[1].0);
        let glimpse = glimpse(&layers);
        let begin_with = [TreePath::root()].into();
        let found = glimpse.work(&begin_with, |below, _| Ok((step(kind, &source, names, &to, below)?, ())));
        if let Some((part, above, ())) = found {
            let expected = step(kind, &source, names, &to, &below);
            prop_assert!(expected.is_ok(), "{:?}", expected);
            let expected = Difference::between(&below, &expected.unwrap()).dated(&below, 7);
            prop_assert_eq!(Difference::between(&part, &above).dated(&part, 7), expected);
        }
    }
}

#[test]
fn only_what_is_needed_is_asked_for() {
    let asked = Mutex::new(0);
    let mut editor = Editor::new(&Layers::nothing());
    let made = Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() };
    for directory in ["/usr/lib/a", "/usr/lib/b", "/etc", "/srv/app/old"] {
        editor.make_directories(directory.as_bytes(), &made).unwrap();
        editor.put(&path(&format!("{}/file", &directory[1..])), crate::tree::arbitrary::file(b"a")).unwrap();
    }
    let below = editor.finish();
    let difference = Difference::between(&Layers::nothing(), &below);
    let Listing { bytes, root } = Listing::of(&difference, &mut |_, _| None).unwrap();
    let find = |pointer: &Pointer| {
        *asked.lock().unwrap() += 1;
        let range = pointer.range();
        Page::read(&bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()], pointer)
    };
    let glimpse = Glimpse { views: vec![View::Pages { root, find: Box::new(find) }], claims: Vec::new(), pages: Mutex::default() };
    let found = glimpse.work(&BTreeSet::new(), |below, _| Ok((step(1, below, ("", ""), "/srv/app/new", below)?, ())));
    assert!(found.is_some());
    // The root, /srv and /srv/app.
    assert_eq!(*asked.lock().unwrap(), 3);
}
