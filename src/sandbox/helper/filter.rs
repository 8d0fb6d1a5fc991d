//! Filters of system calls: rules in, a program for seccomp(2) out.
//!
//! The program is classic BPF over `struct seccomp_data` of linux/seccomp.h. It looks at numbers only: what a pointer points to may change
//! between the look and the call.

use super::calls::{Architecture, Call, NEWEST};

/// What is done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The kernel does it.
    Allow,
    /// It gives this error number, and the kernel does nothing.
    Errno(u16),
    /// A supervisor is asked.
    Notify,
    /// The process is killed.
    KillProcess,
}

impl Action {
    /// `SECCOMP_RET_*`.
    const fn code(self) -> u32 {
        match self {
            Action::Allow => 0x7fff_0000,
            Action::Errno(errno) => 0x0005_0000 | errno as u32,
            Action::Notify => 0x7fc0_0000,
            Action::KillProcess => 0x8000_0000,
        }
    }
}

/// A half of an argument. Arguments that are `int` to the kernel are compared by their low half alone: the rest may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Low,
    High,
}

/// What a half of an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Equal(u32),
    Other(u32),
    Above(u32),
}

/// One thing that must hold for a rule: of an argument, counted from 0, a half, of which the bits of the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub argument: u8,
    pub half: Half,
    pub mask: u32,
    pub test: Test,
}

impl Condition {
    /// For arguments that are `int`.
    pub const fn int(argument: u8, test: Test) -> Condition {
        Condition { argument, half: Half::Low, mask: u32::MAX, test }
    }

    /// For some bits of arguments that are `int`.
    pub const fn bits(argument: u8, mask: u32, test: Test) -> Condition {
        Condition { argument, half: Half::Low, mask, test }
    }
}

/// What is done about a call when all conditions hold.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'c> {
    pub call: Call,
    pub when: &'c [Condition],
    pub action: Action,
}

impl<'c> Rule<'c> {
    pub const fn always(call: Call, action: Action) -> Rule<'c> {
        Rule { call, when: &[], action }
    }
}

/// What is done about calls that no rule speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Otherwise {
    /// Calls of the table.
    pub known: Action,
    /// Calls newer than the table, and the x32 calls of x86-64.
    pub newer: Action,
    /// Calls of an architecture that the filter was not made for.
    pub foreign: Action,
}

impl Otherwise {
    /// What nothing is said about is allowed; newer calls are not there, so that programs fall back on older ones.
    pub const ALLOWED: Otherwise = Otherwise { known: Action::Allow, newer: Action::Errno(ENOSYS), foreign: Action::KillProcess };
}

pub const EPERM: u16 = 1;
pub const EACCES: u16 = 13;
pub const ENOSYS: u16 = 38;

/// One instruction, laid out as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub if_true: u8,
    pub if_false: u8,
    pub value: u32,
}

/// The kernel's limit.
pub const MOST_INSTRUCTIONS: usize = 4096;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

const fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, value }
}

/// A program. Of several rules for one call the first that holds counts. `None` when it would be longer than the kernel takes.
pub fn program(architectures: &[Architecture], rules: &[Rule<'_>], otherwise: Otherwise) -> Option<Vec<Instruction>> {
    let mut program = vec![plain(LOAD, ARCHITECTURE_AT)];
    for architecture in architectures {
        let body = of_architecture(*architecture, rules, otherwise)?;
        program.push(Instruction { code: JUMP_EQUAL, if_true: 1, if_false: 0, value: architecture.audit() });
        program.push(plain(JUMP, u32::try_from(body.len()).ok()?));
        program.extend(body);
    }
    program.push(plain(RETURN, otherwise.foreign.code()));
    (program.len() <= MOST_INSTRUCTIONS).then_some(program)
}

fn of_architecture(architecture: Architecture, rules: &[Rule<'_>], otherwise: Otherwise) -> Option<Vec<Instruction>> {
    let mut body = vec![plain(LOAD, NUMBER_AT)];
    let numbers: Vec<Option<u32>> = rules.iter().map(|rule| rule.call.number(architecture)).collect();
    for (index, number) in numbers.iter().enumerate() {
        let Some(number) = *number else { continue };
        if numbers.iter().take(index).any(|earlier| *earlier == Some(number)) {
            continue;
        }
        let same = rules.iter().zip(&numbers).filter(|(_, other)| **other == Some(number)).map(|(rule, _)| rule);
        let block = of_call(same, otherwise.known)?;
        body.push(Instruction { code: JUMP_EQUAL, if_true: 0, if_false: u8::try_from(block.len()).ok()?, value: number });
        body.extend(block);
    }
    body.push(Instruction { code: JUMP_GREATER, if_true: 0, if_false: 1, value: NEWEST });
    body.push(plain(RETURN, otherwise.newer.code()));
    body.push(plain(RETURN, otherwise.known.code()));
    Some(body)
}

/// The rules of one call, which always returns.
fn of_call<'r>(rules: impl Iterator<Item = &'r Rule<'r>>, otherwise: Action) -> Option<Vec<Instruction>> {
    let mut block = Vec::new();
    for rule in rules {
        let mut one = Vec::new();
        for (place, condition) in rule.when.iter().enumerate() {
            let half = match condition.half {
                // Both architectures are little endian.
                Half::Low => 0,
                Half::High => 4,
            };
            one.push(plain(LOAD, ARGUMENTS_AT + 8 * u32::from(condition.argument) + half));
            one.push(plain(AND, condition.mask));
            // Past the conditions that follow, three instructions each, and the return.
            let next_rule = u8::try_from(3 * (rule.when.len() - place - 1) + 1).ok()?;
            one.push(match condition.test {
                Test::Equal(value) => Instruction { code: JUMP_EQUAL, if_true: 0, if_false: next_rule, value },
                Test::Other(value) => Instruction { code: JUMP_EQUAL, if_true: next_rule, if_false: 0, value },
                Test::Above(value) => Instruction { code: JUMP_GREATER, if_true: 0, if_false: next_rule, value },
            });
        }
        one.push(plain(RETURN, rule.action.code()));
        block.extend(one);
        if rule.when.is_empty() {
            return Some(block);
        }
    }
    block.push(plain(RETURN, otherwise.code()));
    Some(block)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
pub(super) mod tests;
