//! Programs are run as the kernel runs them, and every rule is asked for.

use proptest::prelude::*;

use super::super::calls::{self, *};
use super::super::profile;
use super::*;

const ALL: [Architecture; 4] = [Architecture::X86_64, Architecture::I386, Architecture::Aarch64, Architecture::Arm];

/// The answer for calls that a supervisor is asked about.
pub(in super::super) const NOTIFY: u32 = Action::Notify.code();

/// What the kernel would answer; `None` where it would not take the program.
fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> Option<u32> {
    let mut data = [0_u8; 64];
    data[..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&architecture.to_le_bytes());
    for (place, argument) in arguments.iter().enumerate() {
        data[16 + 8 * place..24 + 8 * place].copy_from_slice(&argument.to_le_bytes());
    }
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let Instruction { code, if_true, if_false, value } = *program.get(at)?;
        at += 1;
        match code {
            LOAD => {
                let start = value as usize;
                assert_eq!(start % 4, 0, "the kernel takes aligned words only");
                accumulator = u32::from_le_bytes(data.get(start..start + 4)?.try_into().ok()?);
            }
            AND => accumulator &= value,
            JUMP => at += value as usize,
            JUMP_EQUAL => at += usize::from(if accumulator == value { if_true } else { if_false }),
            JUMP_GREATER => at += usize::from(if accumulator > value { if_true } else { if_false }),
            RETURN => return Some(value),
            _ => return None,
        }
    }
}

pub(in super::super) fn answer(program: &[Instruction], architecture: Architecture, call: Call, arguments: [u64; 6]) -> u32 {
    let number = call.number(architecture).expect("the call exists there");
    run(program, architecture.audit(), number, arguments).expect("the program ends")
}

fn of_steps(architectures: &[Architecture]) -> Vec<Instruction> {
    program(architectures, &profile::rules(), Otherwise::ALLOWED).expect("it is short enough")
}

#[test]
fn every_forbidden_call_is_refused_on_every_architecture_and_with_any_arguments() {
    for architecture in ALL {
        let program = of_steps(&[architecture]);
        let mut seen = 0;
        for rule in profile::rules().iter().filter(|rule| rule.when.is_empty() && rule.action != Action::Allow) {
            let Some(number) = rule.call.number(architecture) else { continue };
            seen += 1;
            for arguments in [[0; 6], [u64::MAX; 6]] {
                assert_eq!(run(&program, architecture.audit(), number, arguments), Some(rule.action.code()), "{:?}", rule.call);
            }
        }
        assert!(seen > 50, "{seen}");
    }
}

#[test]
fn everyday_calls_are_allowed() {
    for architecture in ALL {
        let program = of_steps(&ALL[..2]);
        let program = if ALL[..2].contains(&architecture) { program } else { of_steps(&ALL[2..]) };
        for call in [READ, WRITE, OPENAT, EXECVE, EXIT_GROUP, CHROOT, MKNODAT, PTRACE, SETRESUID, SETGROUPS, CAPSET, PRCTL, FUTEX, SECCOMP]
        {
            assert_eq!(answer(&program, architecture, call, [0; 6]), Action::Allow.code(), "{architecture:?} {call:?}");
        }
    }
}

#[test]
fn conditions_look_at_the_bits_that_the_kernel_looks_at() {
    let program = of_steps(&ALL[..2]);
    let on = |call: Call, arguments: [u64; 6]| answer(&program, Architecture::X86_64, call, arguments);
    let (allowed, refused) = (Action::Allow.code(), Action::Errno(EPERM).code());
    // fork, a thread, a user namespace, a mount namespace with rubbish above.
    assert_eq!(on(CLONE, [0x0120_0011, 0, 0, 0, 0, 0]), allowed);
    assert_eq!(on(CLONE, [0x003d_0f00, 0, 0, 0, 0, 0]), allowed);
    assert_eq!(on(CLONE, [0x1000_0011, 0, 0, 0, 0, 0]), refused);
    assert_eq!(on(CLONE, [0xffff_ffff_0002_0000, 0, 0, 0, 0, 0]), refused);
    assert_eq!(on(CLONE3, [0; 6]), Action::Errno(ENOSYS).code());
    assert_eq!(on(SOCKET, [1, 0, 0, 0, 0, 0]), allowed);
    assert_eq!(on(SOCKET, [0x1_0000_0028, 0, 0, 0, 0, 0]), refused, "the kernel takes the low half only");
    assert_eq!(on(PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0]), allowed);
    assert_eq!(on(PERSONALITY, [0x0004_0000, 0, 0, 0, 0, 0]), refused);
    assert_eq!(on(IOCTL, [0, 0x5401, 0, 0, 0, 0]), allowed);
    assert_eq!(on(IOCTL, [0, 0x5412, 0, 0, 0, 0]), refused);
    assert_eq!(on(IOCTL, [0, 0x541c, 0, 0, 0, 0]), refused);
}

#[test]
fn without_a_network_namespace_a_step_without_network_has_local_sockets_only() {
    let with = |network| {
        let rules = profile::rules_without_namespaces(network, profile::Tracing::Refused);
        program(&ALL[..2], &rules, Otherwise::ALLOWED).expect("it is short enough")
    };
    let (off, on) = (with(profile::Network::Refused), with(profile::Network::Hosts));
    let ask = |program: &[Instruction], call, family| answer(program, Architecture::X86_64, call, [family, 0, 0, 0, 0, 0]);
    let (allowed, forbidden) = (Action::Allow.code(), Action::Errno(EACCES).code());
    for (family, expected) in [(1, allowed), (16, allowed), (2, forbidden), (10, forbidden), (17, forbidden), (0x1_0000_0002, forbidden)] {
        assert_eq!(ask(&off, SOCKET, family), expected, "{family:#x}");
    }
    assert_eq!(ask(&on, SOCKET, 2), allowed);
    assert_eq!(ask(&on, SOCKET, 40), Action::Errno(EPERM).code());
    for program in [&off, &on] {
        assert_eq!(ask(program, CHROOT, 0), Action::Errno(EPERM).code());
        assert_eq!(ask(program, UNSHARE, 0), Action::Errno(EPERM).code());
    }
    let number = SOCKETCALL.number(Architecture::I386).expect("it exists there");
    assert_eq!(run(&off, Architecture::I386.audit(), number, [1, 0, 0, 0, 0, 0]), Some(Action::Errno(ENOSYS).code()));
}

#[test]
fn without_namespaces_nobody_is_traced_where_nothing_keeps_that_among_the_steps_own() {
    for architecture in ALL {
        let architectures = if ALL[..2].contains(&architecture) { &ALL[..2] } else { &ALL[2..] };
        for (tracing, expected) in
            [(profile::Tracing::Refused, Action::Errno(EPERM).code()), (profile::Tracing::Scoped, Action::Allow.code())]
        {
            for network in [profile::Network::Refused, profile::Network::Hosts] {
                let rules = profile::rules_without_namespaces(network, tracing);
                let program = program(architectures, &rules, Otherwise::ALLOWED).expect("it is short enough");
                for call in [PTRACE, PROCESS_VM_READV, PROCESS_VM_WRITEV] {
                    for arguments in [[0; 6], [16, 1, 0, 0, 0, 0]] {
                        let number = call.number(architecture).expect("it is everywhere");
                        assert_eq!(run(&program, architecture.audit(), number, arguments), Some(expected), "{call:?} {tracing:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_newer_than_the_table_is_not_there_and_foreign_processors_are_not_served() {
    let program = of_steps(&ALL[..2]);
    let newer = Action::Errno(ENOSYS).code();
    for number in [NEWEST + 1, 0x4000_0000, 0x4000_0000 + 41, u32::MAX] {
        assert_eq!(run(&program, Architecture::X86_64.audit(), number, [0; 6]), Some(newer), "{number:#x}");
    }
    assert_eq!(run(&program, Architecture::X86_64.audit(), NEWEST, [0; 6]), Some(Action::Allow.code()));
    assert_eq!(run(&program, Architecture::Arm.audit(), 0, [0; 6]), Some(Action::KillProcess.code()));
    let program = of_steps(&ALL[2..]);
    assert_eq!(answer(&program, Architecture::Arm, ARM_SET_TLS, [0; 6]), Action::Allow.code());
}

#[test]
fn a_call_has_the_number_that_this_machine_s_headers_give_it() {
    assert_eq!(calls::GETPID.number(Architecture::X86_64), Some(39));
    assert_eq!(calls::GETPID.number(Architecture::Aarch64), Some(172));
    assert_eq!(calls::STATX.number(Architecture::I386), Some(383));
    assert_eq!(calls::OPEN.number(Architecture::Aarch64), None);
    assert_eq!(calls::MOUNT_SETATTR.number(Architecture::Arm), Some(442));
}

fn some_condition() -> impl Strategy<Value = Condition> {
    (0..6_u8, prop_oneof![Just(Half::Low), Just(Half::High)], prop_oneof![Just(u32::MAX), 0..4_u32], 0..4_u32, 0..3_u8).prop_map(
        |(argument, half, mask, value, test)| {
            let test = [Test::Equal(value), Test::Other(value), Test::Above(value)][usize::from(test)];
            Condition { argument, half, mask, test }
        },
    )
}

fn some_action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Allow), (1..100_u16).prop_map(Action::Errno), Just(Action::Notify), Just(Action::KillProcess)]
}

/// What rules mean, said in another way.
fn meant(rules: &[(Call, Vec<Condition>, Action)], call: Call, arguments: [u64; 6]) -> Action {
    let holds = |condition: &Condition| {
        let argument = arguments[usize::from(condition.argument)];
        let half = match condition.half {
            Half::Low => argument as u32,
            Half::High => (argument >> 32) as u32,
        } & condition.mask;
        match condition.test {
            Test::Equal(value) => half == value,
            Test::Other(value) => half != value,
            Test::Above(value) => half > value,
        }
    };
    let found = rules.iter().find(|(of, when, _)| *of == call && when.iter().all(holds));
    found.map_or(Action::Allow, |(_, _, action)| *action)
}

proptest! {
    #[test]
    fn the_first_rule_that_holds_counts(
        rules in prop::collection::vec((0..3_usize, prop::collection::vec(some_condition(), 0..4), some_action()), 0..8),
        asked in 0..4_usize,
        arguments in prop::array::uniform6(prop_oneof![0..4_u64, (0..4_u64).prop_map(|high| high << 32)]),
    ) {
        const CALLS: [Call; 4] = [READ, OPENAT, CHROOT, GETPID];
        let rules: Vec<(Call, Vec<Condition>, Action)> = rules.into_iter().map(|(call, when, action)| (CALLS[call], when, action)).collect();
        let given: Vec<Rule<'_>> = rules.iter().map(|(call, when, action)| Rule { call: *call, when, action: *action }).collect();
        for architecture in ALL {
            let program = program(&[architecture], &given, Otherwise::ALLOWED).expect("it is short enough");
            let expected = meant(&rules, CALLS[asked], arguments).code();
            prop_assert_eq!(answer(&program, architecture, CALLS[asked], arguments), expected);
        }
    }
}
