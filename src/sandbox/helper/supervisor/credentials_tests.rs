//! The rules of credentials(7) and capabilities(7), case by case.

use super::*;

const ALL: u64 = CHOWN | DAC_OVERRIDE | FOWNER | SETGID | SETUID | SETPCAP;

fn root() -> Credentials {
    Credentials::of_step(0, 0, &[], ALL)
}

fn ids(real: u32, effective: u32, saved: u32) -> Ids {
    Ids { real, effective, saved, filesystem: effective }
}

#[test]
fn root_drops_to_a_user_for_good() {
    let user = root().set_groups(&[9, 7]).unwrap().set_gid(33).unwrap().set_uid(33).unwrap();
    assert_eq!((user.user, user.group, user.groups.as_slice()), (Ids::all(33), Ids::all(33), [7, 9].as_slice()));
    assert_eq!((user.capabilities.permitted, user.capabilities.effective), (0, 0));
    for refused in [user.set_uid(0), user.set_three_uids(KEEP, 0, KEEP), user.set_gid(0), user.set_groups(&[])] {
        assert_eq!(refused, Err(Refused::NotPermitted));
    }
    assert_eq!(user.set_uid(KEEP), Err(Refused::Invalid));
}

#[test]
fn root_drops_to_a_user_for_a_while() {
    let user = root().set_three_uids(KEEP, 5, KEEP).unwrap();
    assert_eq!((user.user, user.capabilities.effective, user.capabilities.permitted), (ids(0, 5, 0), 0, ALL));
    let back = user.set_three_uids(KEEP, 0, KEEP).unwrap();
    assert_eq!(back, root());
}

#[test]
fn every_thread_may_repeat_what_the_first_did() {
    let swapped = root().set_three_uids(1000, 0, 0).unwrap().set_two_uids(0, 1000).unwrap();
    assert_eq!(swapped.user, ids(0, 1000, 1000));
    assert_eq!(swapped.set_two_uids(0, 1000).unwrap(), swapped);
    let dropped = root().set_three_uids(7, 7, 0).unwrap();
    assert_eq!(dropped.set_three_uids(7, 7, 0).unwrap(), dropped);
}

#[test]
fn the_user_of_files_takes_the_rights_over_files_along() {
    let user = root().set_filesystem_uid(77);
    assert_eq!((user.user.filesystem, user.user.effective), (77, 0));
    assert!(!user.can(DAC_OVERRIDE) && !user.can(CHOWN) && user.can(SETUID));
    assert_eq!(user.set_filesystem_uid(0), root());
    let refused = root().set_uid(5).unwrap();
    assert_eq!(refused.set_filesystem_uid(0), refused);
}

#[test]
fn a_set_user_id_program_makes_its_owner_of_whoever_starts_it() {
    let user = root().set_uid(1000).unwrap();
    let su = user.after_exec(&Program { uid: Some(0), ..Program::default() });
    assert_eq!((su.user, su.capabilities.effective), (ids(1000, 0, 0), ALL));
    let other = su.after_exec(&Program { uid: Some(44), gid: Some(45), capabilities: None });
    assert_eq!((other.user, other.group), (ids(1000, 44, 44), ids(0, 45, 45)));
    assert_eq!(user.after_exec(&Program::default()), user);
}

#[test]
fn capabilities_survive_where_they_were_asked_to() {
    let kept = root().set_keep(1).unwrap().set_uid(1000).unwrap();
    assert_eq!((kept.capabilities.permitted, kept.capabilities.effective), (ALL, 0));
    let used = kept.set_capabilities(CHOWN, CHOWN, CHOWN).unwrap().set_ambient(Ambient::Raise(0)).unwrap();
    let after = used.after_exec(&Program::default());
    assert_eq!((after.capabilities.permitted, after.capabilities.effective, after.keeps_capabilities()), (CHOWN, CHOWN, false));
    assert_eq!(used.set_capabilities(SETUID, SETUID, 0), Err(Refused::NotPermitted));
    let only = Program {
        capabilities: Some(ProgramCapabilities { permitted: FOWNER | 1 << 21, inheritable: 0, effective: true }),
        ..Program::default()
    };
    let with_own = root().set_uid(1000).unwrap().after_exec(&only);
    assert_eq!((with_own.capabilities.permitted, with_own.capabilities.effective), (FOWNER, FOWNER));
}

#[test]
fn what_is_out_of_bounds_does_not_come_back() {
    let bounded = root().drop_bounding(0).unwrap();
    assert!(bounded.can(CHOWN));
    assert!(!bounded.after_exec(&Program::default()).can(CHOWN));
    assert_eq!(root().set_uid(5).unwrap().drop_bounding(0), Err(Refused::NotPermitted));
    assert_eq!(root().drop_bounding(64), Err(Refused::Invalid));
}

#[test]
fn permissions_are_those_of_the_first_class_that_fits() {
    let subject = |uid, gid, groups, capabilities| Subject { uid, gid, groups, capabilities };
    let owner = Owner { uid: 5, gid: 6 };
    let file = 0o100_047;
    for (subject, wish, expected) in [
        // The owner has no bits of his own, though all others have.
        (subject(5, 6, &[][..], 0), Wish::READ, false),
        (subject(9, 6, &[], 0), Wish::READ, true),
        (subject(9, 9, &[6], 0), Wish::WRITE, false),
        (subject(9, 9, &[], 0), Wish::WRITE, true),
        (subject(5, 6, &[], DAC_OVERRIDE), Wish::WRITE, true),
        (subject(5, 6, &[], DAC_READ_SEARCH), Wish::READ, true),
        (subject(5, 6, &[], DAC_READ_SEARCH), Wish::WRITE, false),
    ] {
        assert_eq!(subject.may(owner, file, wish), expected, "{subject:?} {wish:?}");
    }
    let nobody_executes = 0o100_666;
    assert!(!subject(0, 0, &[], DAC_OVERRIDE).may(owner, nobody_executes, Wish::SEARCH));
    assert!(subject(0, 0, &[], DAC_OVERRIDE).may(owner, 0o040_000, Wish::CHANGE));
}
