//! What a step may ask of the kernel: the rules of its filter.
//!
//! What Docker's default profile forbids to a container with the same capabilities is forbidden here. A step's user 0 has its capabilities
//! towards its own namespaces only; the filter keeps parts of the kernel out of its reach that no build needs.

use super::calls::*;
use super::filter::{Action, Condition, EACCES, ENOSYS, EPERM, Rule, Test};

/// Whether a step may use network sockets, where it has no network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    Refused,
    Hosts,
}

const REFUSED: Action = Action::Errno(EPERM);
/// For calls with an older way that programs then go.
const NOT_THERE: Action = Action::Errno(ENOSYS);

/// Never allowed, by what they are about.
const NEVER: &[&[Call]] = &[
    NAMESPACES_AND_MOUNTS,
    // Keys belong to users, not to namespaces.
    &[ADD_KEY, REQUEST_KEY, KEYCTL],
    // Programs, events and queues inside the kernel.
    &[BPF, PERF_EVENT_OPEN, USERFAULTFD, FANOTIFY_INIT, LOOKUP_DCOOKIE, IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER],
    THE_KERNEL_ITSELF,
    &[SETTIMEOFDAY, STIME, CLOCK_SETTIME, CLOCK_SETTIME64, CLOCK_ADJTIME, CLOCK_ADJTIME64],
    // Hardware and terminals.
    &[IOPL, IOPERM, VM86, VM86OLD, VHANGUP, PCICONFIG_IOBASE, PCICONFIG_READ, PCICONFIG_WRITE],
    &[ACCT, QUOTACTL, QUOTACTL_FD, SWAPON, SWAPOFF],
    // Other processes, beyond what ptrace(2) looks at.
    &[KCMP, PIDFD_GETFD, PROCESS_MADVISE],
    // Where memory lies.
    &[MBIND, GET_MEMPOLICY, SET_MEMPOLICY, SET_MEMPOLICY_HOME_NODE, MOVE_PAGES, MIGRATE_PAGES],
    // Files by number, past all directories.
    &[OPEN_BY_HANDLE_AT],
    &[NFSSERVCTL, USELIB, USTAT, AFS_SYSCALL, GETPMSG, PUTPMSG, SECURITY, TUXCALL, VSERVER],
];

const NAMESPACES_AND_MOUNTS: &[Call] = &[
    UNSHARE,
    SETNS,
    MOUNT,
    UMOUNT,
    UMOUNT2,
    PIVOT_ROOT,
    MOVE_MOUNT,
    OPEN_TREE,
    OPEN_TREE_ATTR,
    FSOPEN,
    FSCONFIG,
    FSMOUNT,
    FSPICK,
    MOUNT_SETATTR,
    SETHOSTNAME,
    SETDOMAINNAME,
];

const THE_KERNEL_ITSELF: &[Call] = &[
    INIT_MODULE,
    FINIT_MODULE,
    DELETE_MODULE,
    CREATE_MODULE,
    GET_KERNEL_SYMS,
    QUERY_MODULE,
    KEXEC_LOAD,
    KEXEC_FILE_LOAD,
    REBOOT,
    SYSLOG,
    SYSFS,
    SYSCTL,
    BDFLUSH,
];

/// `CLONE_NEW*` but for time, whose bit is one of the exit signal's here.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `AF_VSOCK`: to the machine that this one is a guest of.
const VSOCK: u32 = 40;
/// `TIOCSTI` and `TIOCLINUX`: typing into a terminal.
const TYPING: [u32; 2] = [0x5412, 0x541c];
/// Linux, 32-bit Linux, each with or without the machine's 2.6 name; and the question which it is.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, u32::MAX];

const IS_NEW_NAMESPACE: [Condition; 1] = [Condition::bits(0, NEW_NAMESPACES, Test::Other(0))];
const IS_VSOCK: [Condition; 1] = [Condition::int(0, Test::Equal(VSOCK))];
const IS_TYPING: [[Condition; 1]; 2] = [[Condition::int(1, Test::Equal(TYPING[0]))], [Condition::int(1, Test::Equal(TYPING[1]))]];
const IS_OTHER_PERSONALITY: [Condition; 5] = [
    Condition::int(0, Test::Other(PERSONALITIES[0])),
    Condition::int(0, Test::Other(PERSONALITIES[1])),
    Condition::int(0, Test::Other(PERSONALITIES[2])),
    Condition::int(0, Test::Other(PERSONALITIES[3])),
    Condition::int(0, Test::Other(PERSONALITIES[4])),
];

/// The rules of every step; what they do not speak of is allowed.
pub fn rules() -> Vec<Rule<'static>> {
    let mut rules: Vec<Rule<'static>> = NEVER.iter().flat_map(|group| group.iter()).map(|call| Rule::always(*call, REFUSED)).collect();
    // Its flags are behind a pointer; programs go back to clone(2).
    rules.push(Rule::always(CLONE3, NOT_THERE));
    rules.push(Rule { call: CLONE, when: &IS_NEW_NAMESPACE, action: REFUSED });
    rules.push(Rule { call: SOCKET, when: &IS_VSOCK, action: REFUSED });
    rules.push(Rule { call: PERSONALITY, when: &IS_OTHER_PERSONALITY, action: REFUSED });
    rules.extend(IS_TYPING.iter().map(|when| Rule { call: IOCTL, when, action: REFUSED }));
    // Above all others, so that they would pass for new ones.
    rules.extend([ARM_BREAKPOINT, ARM_CACHEFLUSH, ARM_SET_TLS, ARM_GET_TLS].map(|call| Rule::always(call, Action::Allow)));
    rules
}

/// `AF_UNIX` and `AF_NETLINK`.
const IS_LOCAL_SOCKET: [[Condition; 1]; 2] = [[Condition::int(0, Test::Equal(1))], [Condition::int(0, Test::Equal(16))]];
const FORBIDDEN: Action = Action::Errno(EACCES);

/// A process that is not the one that calls.
const IS_OTHER_PROCESS: [Condition; 1] = [Condition::int(0, Test::Other(0))];

/// What tracing is refused to a step by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tracing {
    /// By Landlock, which keeps it among the step's own processes.
    Scoped,
    /// By the filter, altogether.
    Refused,
}

/// The rules of a step that has another root and no namespaces.
pub fn rules_without_namespaces(network: Network, tracing: Tracing) -> Vec<Rule<'static>> {
    // The first that speaks of a call counts.
    let mut rules = vec![
        Rule::always(CHROOT, REFUSED),
        // The builder's limits are those of a process of the same user.
        Rule { call: PRLIMIT64, when: &IS_OTHER_PROCESS, action: REFUSED },
    ];
    match tracing {
        Tracing::Scoped => {}
        // A step may become any user, and is then as good as that user's processes in the same container, or on the machine.
        Tracing::Refused => rules.extend([PTRACE, PROCESS_VM_READV, PROCESS_VM_WRITEV].map(|call| Rule::always(call, REFUSED))),
    }
    match network {
        Network::Hosts => {}
        Network::Refused => {
            rules.extend(IS_LOCAL_SOCKET.iter().map(|when| Rule { call: SOCKET, when, action: Action::Allow }));
            rules.push(Rule::always(SOCKET, FORBIDDEN));
            // The same behind a pointer.
            rules.push(Rule::always(SOCKETCALL, NOT_THERE));
        }
    }
    rules.extend(self::rules());
    rules
}
