//! Statements that count and those that do not; listings page by page.

use std::collections::BTreeMap;

use base64::Engine as _;
use lapstrake_cache::Fingerprint;
use proptest::prelude::*;

use super::statement::{Refused, Times, hear, say, times};
use super::*;
use crate::tree::arbitrary::{directory, file, path, symlink, tree_of};
use crate::tree::{Change, Difference, Entry, TreePath};

/// A key of these bytes, as PKCS #8 has it.
fn key(seed: u8) -> SigningKey {
    let prefix = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let der = [prefix.as_slice(), &[seed; 32]].concat();
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    SigningKey::from_pem(&format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")).unwrap()
}

const SEVEN: Times = Times { written: 7, renewed: None };

fn name() -> Fingerprint {
    Fingerprint::of(b"preimage")
}

fn said(text: &str, signer: Option<&PublicKey>) -> Result<u32, Refused> {
    hear::<u32>(text, Kind::Result, &name(), b"preimage", signer).map(|said| said.body)
}

#[test]
fn a_statement_counts_for_its_own_key_and_preimage_alone() {
    let text = say(Kind::Result, &name(), b"preimage", SEVEN, &5_u32, None).unwrap();
    assert_eq!(said(&text, None), Ok(5));
    assert_eq!(times(&text), Some(SEVEN));
    let other = |kind, key: &Fingerprint, preimage: &[u8]| hear::<u32>(&text, kind, key, preimage, None).map(|said| said.body);
    assert_eq!(other(Kind::Part, &name(), b"preimage"), Err(Refused::Mixed));
    assert_eq!(other(Kind::Result, &Fingerprint::of(b"other"), b"preimage"), Err(Refused::Mixed));
    assert_eq!(other(Kind::Result, &name(), b"preimag"), Err(Refused::Mixed));
    assert_eq!(hear::<String>(&text, Kind::Result, &name(), b"preimage", None).map(|said| said.body), Err(Refused::Unreadable));
    for cut in 0..text.len() {
        assert!(said(&text[..cut], None).is_err(), "{cut}");
    }
}

#[test]
fn what_is_renewed_is_as_old_as_it_was_and_not_idle() {
    let renewed = Times { written: 7, renewed: Some(9) };
    let text = say(Kind::Result, &name(), b"preimage", renewed, &5_u32, None).unwrap();
    assert_eq!(said(&text, None), Ok(5));
    assert_eq!(times(&text), Some(renewed));
    assert_eq!((SEVEN.last(), renewed.last()), (7, 9));
    // A clock that went back takes nothing away.
    assert_eq!(Times { written: 7, renewed: Some(3) }.last(), 7);
}

#[test]
fn with_a_key_only_its_own_signature_over_these_very_bytes_counts() {
    let (ours, theirs) = (key(1), key(2));
    let text = say(Kind::Result, &name(), b"preimage", SEVEN, &5_u32, Some(&ours)).unwrap();
    assert_eq!(said(&text, Some(ours.public())), Ok(5));
    // Who asks for no signature is not bothered by one.
    assert_eq!(said(&text, None), Ok(5));
    let unsigned = say(Kind::Result, &name(), b"preimage", SEVEN, &5_u32, None).unwrap();
    let foreign = say(Kind::Result, &name(), b"preimage", SEVEN, &5_u32, Some(&theirs)).unwrap();
    let (signature, statement) = text.split_once(' ').unwrap();
    let changed = format!("{signature} {}", statement.replace("\"body\":5", "\"body\":6"));
    let moved = format!("{signature} {}", unsigned.split_once(' ').unwrap().1.replace("\"written\":7", "\"written\":8"));
    for text in [&unsigned, &foreign, &changed, &moved, &format!("x{text}"), &String::new()] {
        assert!(matches!(said(text, Some(ours.public())), Err(Refused::Signature | Refused::Unreadable)), "{text}");
    }
    assert_eq!(said(&changed, Some(ours.public())), Err(Refused::Signature));
}

#[test]
fn keys_are_read_as_openssl_writes_them_and_nothing_else_is() {
    // RFC 8032, section 7.1, test 1.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let bytes = |hex: &str| (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect::<Vec<u8>>();
    let base64 = base64::engine::general_purpose::STANDARD;
    let der = [&[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20], bytes(seed).as_slice()]
        .concat();
    let pem = |label: &str, der: &[u8]| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64.encode(der));
    let signer = SigningKey::from_pem(&pem("PRIVATE KEY", &der)).unwrap();
    let word = format!("ed25519:{}", base64.encode(bytes(public)));
    assert_eq!(signer.public().to_string(), word);
    assert_eq!(word.parse::<PublicKey>().as_ref(), Ok(signer.public()));
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], bytes(public).as_slice()].concat();
    assert_eq!(PublicKey::from_pem(&pem("PUBLIC KEY", &spki)).as_ref(), Ok(signer.public()));
    for text in ["", "x", &pem("PRIVATE KEY", &spki), &pem("PUBLIC KEY", &der), "-----BEGIN PRIVATE KEY-----"] {
        assert!(SigningKey::from_pem(text).is_err() && PublicKey::from_pem(text).is_err() && text.parse::<PublicKey>().is_err(), "{text}");
    }
    assert!(!format!("{signer:?}").contains(&base64.encode(bytes(seed))));
}

#[test]
fn names_of_records_differ_by_kind_key_and_signer_and_are_tags() {
    let (ours, theirs) = (key(1), key(2));
    let mut names = Vec::new();
    for kind in [Kind::Result, Kind::Part, Kind::Base] {
        for key in [name(), Fingerprint::of(b"other")] {
            for signer in [None, Some(ours.public()), Some(theirs.public())] {
                names.push(RecordName::new(kind, &key, signer));
            }
        }
    }
    for name in &names {
        let reference: Reference = format!("r.example.com/cache:{}", name.as_str()).parse().unwrap();
        assert_eq!(reference.tag.as_deref(), Some(name.as_str()));
        assert_eq!(RecordName::told(name.as_str()).as_ref(), Some(name));
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(RecordName::told("latest"), None);
}

/// All that pages tell, put together again.
fn together(listing: &Listing) -> Difference {
    let mut whole = Difference::default();
    let mut open: Vec<(TreePath, Pointer)> = vec![(TreePath::root(), listing.root)];
    while let Some((directory, pointer)) = open.pop() {
        let range = pointer.range();
        let stored = &listing.bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let page = Page::read(stored, &pointer).unwrap();
        for (path, change) in page.difference.entries {
            let at = path.name().map_or_else(|| directory.clone(), |name| directory.join(&name));
            if let Some(before) = whole.entries.insert(at, change.clone()) {
                assert_eq!(before, change, "a directory is told of alike by its own page and the one above");
            }
        }
        if !page.difference.opaque.is_empty() {
            whole.opaque.insert(directory.clone());
        }
        open.extend(page.below.into_iter().map(|(name, pointer)| (directory.join(&name), pointer)));
    }
    whole
}

proptest! {
    #[test]
    fn the_pages_of_a_difference_are_all_of_it_but_the_links((below, above) in crate::tree::arbitrary::pair(), opaque: bool) {
        let mut difference = Difference::between(&below, &above);
        let directories = difference.entries.iter().filter(|(_, change)| matches!(change, Change::Put(Entry::Directory(_))));
        let directories: Vec<TreePath> = directories.map(|(path, _)| path.clone()).filter(|_| opaque).collect();
        difference.opaque.extend(directories);
        if let Some(listing) = Listing::of(&difference, &mut |_, _| None) {
            let found = together(&listing);
            prop_assert_eq!(found.entries, difference.entries);
            prop_assert_eq!(found.opaque, difference.opaque);
        } else {
            prop_assert!(difference.is_empty() || difference.check().is_err());
        }
    }

    #[test]
    fn other_bytes_are_no_page(at: prop::sample::Index, bit in 0..8_u32, any in prop::collection::vec(any::<u8>(), 0..200)) {
        let tree = tree_of(&[("etc/passwd", file(b"a")), ("usr", directory()), ("bin", symlink("usr/bin"))]);
        let Listing { bytes, root } = Listing::of(&Difference::whole(&tree), &mut |_, _| None).unwrap();
        let mut stored = bytes[usize::try_from(root.offset).unwrap()..].to_vec();
        prop_assert!(Page::read(&stored, &root).is_some());
        let at = at.index(stored.len());
        stored[at] ^= 1_u8 << bit;
        prop_assert_eq!(Page::read(&stored, &root), None);
        // Whoever makes up the name too gets no further than an answer.
        let _ = Page::read(&any, &Pointer { offset: 0, length: 0, name: Fingerprint::of(&any) });
        let packed = zstd::bulk::compress(&any, 1).unwrap();
        let _ = Page::read(&packed, &Pointer { offset: 0, length: 0, name: Fingerprint::of(&packed) });
    }
}

#[test]
fn account_files_and_hard_links_are_told_of_by_their_pages() {
    let mut editor = crate::tree::Editor::new(&tree_of(&[("etc/passwd", file(b"a")), ("etc/shadow", file(b"a")), ("usr/x", file(b"a"))]));
    editor.link(&path("usr/x"), &path("usr/y")).unwrap();
    let difference = Difference::whole(&editor.finish());
    let Listing { bytes, root } = Listing::of(&difference, &mut |path, _| Some(path.as_bytes().to_vec())).unwrap();
    let read = |pointer: &Pointer| {
        let range = pointer.range();
        Page::read(&bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()], pointer).unwrap()
    };
    let top = read(&root);
    assert_eq!(top.links, Linked::No);
    let below: BTreeMap<String, Page> = top.below.iter().map(|(name, pointer)| (name.to_string(), read(pointer))).collect();
    assert_eq!(below["usr"].links, Linked::Yes);
    assert_eq!(below["etc"].links, Linked::No);
    let texts: Vec<(String, &[u8])> = below["etc"].texts.iter().map(|(name, text)| (name.to_string(), text.as_slice())).collect();
    assert_eq!(texts, [("passwd".to_owned(), &b"etc/passwd"[..])]);
}
