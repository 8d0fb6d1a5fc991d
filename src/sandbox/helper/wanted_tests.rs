//! Every call that wants too much waits, and no other; what it wants is said in numbers.

use super::super::filter::{self, Otherwise};
use super::*;

const MINUS_1: u64 = u64::MAX;
const OTHERWISE: Otherwise = Otherwise { known: Action::Allow, newer: Action::Allow, foreign: Action::Allow };

#[test]
fn the_last_id_is_that_of_the_extents_without_a_gap_from_0_on() {
    let cases = [
        ("         0          0 4294967295\n", LAST_OF_ALL),
        ("0 1000 1\n1 100000 65536\n", 65536),
        ("1 100000 65536\n0 1000 1\n", 65536),
        ("0 1000 1\n5 100000 65536\n", 0),
        ("0 0 4294967296\n", LAST_OF_ALL),
        ("", LAST_OF_ALL),
    ];
    for (map, expected) in cases {
        assert_eq!(last_of(map), expected, "{map}");
    }
}

#[test]
fn calls_wait_that_want_too_much_and_no_others() {
    const USER: u64 = 65537;
    const GROUP: u64 = 1001;
    let waits = |last: (u32, u32), call: Call, arguments: [u64; 6]| {
        let wanting = wanting(last.0, last.1);
        let rules: Vec<Rule<'_>> = rules(&wanting).collect();
        Architecture::HERE.iter().filter(|architecture| call.number(**architecture).is_some()).all(|architecture| {
            let program = filter::program(&[*architecture], &rules, OTHERWISE).expect("it is short enough");
            filter::tests::answer(&program, *architecture, call, arguments) == filter::tests::NOTIFY
        })
    };
    let some = (65536, 1000);
    let all = (LAST_OF_ALL, LAST_OF_ALL);
    let cases = [
        (calls::FCHOWN, [0, USER - 1, GROUP - 1, 0, 0, 0], false),
        (calls::FCHOWN, [0, USER, 0, 0, 0, 0], true),
        (calls::FCHOWN, [0, 0, GROUP, 0, 0, 0], true),
        (calls::FCHOWN, [0, MINUS_1, MINUS_1, 0, 0, 0], false),
        (calls::FCHOWNAT, [GROUP, 0, USER, MINUS_1, 0, 0], true),
        (calls::FCHOWNAT, [GROUP, 0, 0, MINUS_1, USER, 0], false),
        (calls::SETUID, [USER, 0, 0, 0, 0, 0], true),
        (calls::SETUID, [0, USER, 0, 0, 0, 0], false),
        (calls::SETRESUID, [MINUS_1, 0, USER, 0, 0, 0], true),
        (calls::SETRESUID, [MINUS_1, MINUS_1, MINUS_1, 0, 0, 0], false),
        (calls::SETRESGID, [GROUP, MINUS_1, 0, 0, 0, 0], true),
        (calls::SETGROUPS, [1, 0x1000, 0, 0, 0, 0], true),
        (calls::SETGROUPS, [0, 0x1000, 0, 0, 0, 0], false),
    ];
    for (call, arguments, expected) in cases {
        assert_eq!(waits(some, call, arguments), expected, "{call:?} {arguments:?}");
        assert!(!waits(all, call, arguments), "{call:?} {arguments:?}");
    }
    let nodes = [(0o20666, 0x103, true), (0o60660, 0x801, true), (0o20666, 0, false), (0o10666, 0x103, false), (0o100_644, 5, false)];
    for (mode, device, expected) in nodes {
        for last in [some, all] {
            assert_eq!(waits(last, calls::MKNODAT, [0, 0, mode, device, 0, 0]), expected, "{mode:o} {device:x}");
        }
    }
}

#[test]
fn what_is_wanted_is_said_in_numbers() {
    let Some(architecture) = Architecture::HERE.first() else { return };
    let said = |call: Call, arguments: [u64; 6]| {
        let number = i32::try_from(call.number(*architecture).expect("the call exists there")).expect("it is small");
        wanted(architecture.audit(), number, arguments)
    };
    let cases = [
        (calls::MKNODAT, [0, 0, 0o20666, 0x103, 0, 0], "to make the character device 1:3"),
        (calls::MKNODAT, [0, 0, 0o60660, 0x1234_5678, 0, 0], "to make the block device 1110:74616"),
        (calls::FCHOWNAT, [0, 0, 3_000_000, 7, 0, 0], "to give a file to 3000000:7"),
        (calls::FCHOWN, [0, MINUS_1, 3_000_000, 0, 0, 0], "to give a file to the group 3000000"),
        (calls::FCHOWN, [0, 3_000_000, MINUS_1, 0, 0, 0], "to give a file to the user 3000000"),
        (calls::SETRESUID, [MINUS_1, 3_000_000, 0, 0, 0, 0], "to become the user 3000000"),
        (calls::SETGID, [3_000_000, 0, 0, 0, 0, 0], "to become the group 3000000"),
    ];
    for (call, arguments, expected) in cases {
        assert_eq!(said(call, arguments).as_deref(), Some(expected));
    }
    assert_eq!(said(calls::UNAME, [0; 6]), None);
    let list = |call: Call, count: u64| {
        let number = i32::try_from(call.number(*architecture).expect("the call exists there")).expect("it is small");
        list_of_groups(architecture.audit(), number, [count, 0x1000, 0, 0, 0, 0])
    };
    assert_eq!(list(calls::SETGROUPS, 3), Some((0x1000, 3)));
    assert_eq!(list(calls::SETGROUPS, 65537), Some((0x1000, 0)));
    assert_eq!(list(calls::SETGID, 3), None);
}
