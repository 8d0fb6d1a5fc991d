//! What a command may not do: what it has around it in, capabilities taken away and a filter put on.

use std::os::fd::OwnedFd;

use crate::calls::Architecture;
use crate::filter::{self, Otherwise, Rule};
use crate::profile::{self, Network, Tracing};
use crate::step::{Failure, Trying};
use crate::sys::{self, EINVAL, EPERM};
use crate::wire::{Ownership, Stage};

/// What a step may do as user 0: what other builders give by default. Bits are those of capability(7).
pub const CAPABILITIES: u64 = 1 // CHOWN
    | 1 << 1 // DAC_OVERRIDE
    | 1 << 3 // FOWNER
    | 1 << 4 // FSETID
    | 1 << 5 // KILL
    | 1 << 6 // SETGID
    | 1 << 7 // SETUID
    | 1 << 8 // SETPCAP
    | 1 << 10 // NET_BIND_SERVICE
    | 1 << 13 // NET_RAW
    | 1 << 18 // SYS_CHROOT
    | 1 << 27 // MKNOD
    | 1 << 29 // AUDIT_WRITE
    | 1 << 31; // SETFCAP

/// What of these is left to a step that has no namespaces, where each of them counts on the host. That it may not change its root keeps it
/// in the one that it has, and out of the memory of the builder, which may.
const CAPABILITIES_WITHOUT_NAMESPACES: u64 = CAPABILITIES & !(1 << 10 | 1 << 13 | 1 << 18 | 1 << 27);
/// KILL, where the kernel does not keep signals within the step.
const KILL: u64 = 1 << 5;
const SYS_ADMIN: u64 = 1 << 21;

/// What a command has around it.
pub enum Within<'r> {
    /// Namespaces, with its root as theirs.
    Namespaces { ownership: &'r Ownership, name: HostName },
    /// Another root only.
    Root(Chroot<'r>),
}

/// Where a step's host name comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HostName {
    /// Its namespace has it.
    Own,
    /// Whoever asks for it is answered ([`crate::name`]).
    Answered,
}

/// Another root, and what else there is in place of namespaces.
pub struct Chroot<'r> {
    pub root: &'r OwnedFd,
    pub network: Network,
    pub signals: Signals,
}

/// Whether the kernel keeps a command's signals among its own processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    Scoped,
    Open,
}

/// Takes from the process what no step may do: the capabilities that user 0 keeps.
pub fn confine(within: &Within<'_>) -> Result<u64, Failure> {
    let (user, processes) = (Stage::User {}, Stage::Processes {});
    let rules = match within {
        Within::Namespaces { .. } => {
            sys::limit_capabilities(CAPABILITIES).trying(&user, || "limit capabilities".to_owned())?;
            profile::rules()
        }
        Within::Root(chroot) => {
            let own = sys::capabilities().trying(&user, || "read its capabilities".to_owned())?;
            if own & SYS_ADMIN == 0 {
                // A filter needs it here. Set-user-id programs do nothing then.
                sys::no_new_privileges().trying(&processes, || "give up new rights".to_owned())?;
            }
            if chroot.signals == Signals::Scoped {
                sys::scope_signals().trying(&processes, || "keep its signals among its own processes".to_owned())?;
            }
            let tracing = if chroot.signals == Signals::Scoped { Tracing::Scoped } else { Tracing::Refused };
            profile::rules_without_namespaces(chroot.network, tracing)
        }
    };
    // While the process may still do it without giving up set-user-id programs.
    filter(&rules).trying(&processes, || "filter system calls".to_owned())?;
    match within {
        Within::Namespaces { .. } => Ok(CAPABILITIES),
        Within::Root(chroot) => {
            let own = sys::capabilities().trying(&user, || "read its capabilities".to_owned())?;
            let may_kill = if chroot.signals == Signals::Scoped { KILL } else { 0 };
            let kept = own & CAPABILITIES_WITHOUT_NAMESPACES & (!KILL | may_kill);
            match sys::limit_capabilities(kept) {
                // Without the right to limit them, programs still get no more than the process has.
                Err(EPERM) if own & SYS_ADMIN == 0 => {}
                other => other.trying(&user, || "limit capabilities".to_owned())?,
            }
            Ok(kept)
        }
    }
}

fn filter(rules: &[Rule<'_>]) -> sys::Result<()> {
    if Architecture::HERE.is_empty() {
        return Ok(());
    }
    let program = filter::program(Architecture::HERE, rules, Otherwise::ALLOWED).ok_or(EINVAL)?;
    sys::filter_calls(&program)
}
