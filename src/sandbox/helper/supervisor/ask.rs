//! Which calls come to the supervisor, and who answers each.

use std::os::fd::OwnedFd;

use super::process::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Asked};
use super::{Answer, Outcome, Supervisor};
use crate::calls::{self, Architecture, Call};
use crate::filter::{self, Action, Condition, Rule, Test};
use crate::sys::{ENOSYS, Follow};

/// A call by what it asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Stat,
    LinkStat,
    OpenStat,
    StatAt,
    StatExtended,
    Access,
    AccessAt,
    AccessAtWithFlags,
    ChangeDirectory,
    ListDirectory,
    ListAttributes,
    ListLinkAttributes,
    ListOpenAttributes,
    Attribute,
    LinkAttribute,
    OpenAttribute,
    SetAttribute,
    SetLinkAttribute,
    SetOpenAttribute,
    RemoveAttribute,
    RemoveLinkAttribute,
    RemoveOpenAttribute,
    Open,
    OpenAt,
    OpenWithHow,
    Create,
    Truncate,
    MakeDirectory,
    MakeDirectoryAt,
    MakeLink,
    MakeLinkAt,
    MakeNode,
    MakeNodeAt,
    Bind,
    HardLink,
    HardLinkAt,
    Unlink,
    UnlinkAt,
    RemoveDirectory,
    Rename,
    RenameAt,
    RenameAtWithFlags,
    ChangeMode,
    ChangeOpenMode,
    ChangeModeAt,
    ChangeModeAtWithFlags,
    ChangeOwner,
    ChangeLinkOwner,
    ChangeOpenOwner,
    ChangeOwnerAt,
    SetTimes,
    SetTimesAt,
    GetUid,
    GetEffectiveUid,
    GetGid,
    GetEffectiveGid,
    GetThreeUids,
    GetThreeGids,
    GetGroups,
    SetUid,
    SetGid,
    SetTwoUids,
    SetTwoGids,
    SetThreeUids,
    SetThreeGids,
    SetFilesystemUid,
    SetFilesystemGid,
    SetGroups,
    GetCapabilities,
    SetCapabilities,
    Process,
    Execute,
    ExecuteAt,
    ChangeRoot,
    SocketOption,
    GetLimit,
    GetOrSetLimit,
    HostName,
}

const ASKS: &[(Call, Ask)] = &[
    (calls::STAT, Ask::Stat),
    (calls::LSTAT, Ask::LinkStat),
    (calls::FSTAT, Ask::OpenStat),
    (calls::NEWFSTATAT, Ask::StatAt),
    (calls::STATX, Ask::StatExtended),
    (calls::ACCESS, Ask::Access),
    (calls::FACCESSAT, Ask::AccessAt),
    (calls::FACCESSAT2, Ask::AccessAtWithFlags),
    (calls::CHDIR, Ask::ChangeDirectory),
    (calls::GETDENTS64, Ask::ListDirectory),
    (calls::LISTXATTR, Ask::ListAttributes),
    (calls::LLISTXATTR, Ask::ListLinkAttributes),
    (calls::FLISTXATTR, Ask::ListOpenAttributes),
    (calls::GETXATTR, Ask::Attribute),
    (calls::LGETXATTR, Ask::LinkAttribute),
    (calls::FGETXATTR, Ask::OpenAttribute),
    (calls::SETXATTR, Ask::SetAttribute),
    (calls::LSETXATTR, Ask::SetLinkAttribute),
    (calls::FSETXATTR, Ask::SetOpenAttribute),
    (calls::REMOVEXATTR, Ask::RemoveAttribute),
    (calls::LREMOVEXATTR, Ask::RemoveLinkAttribute),
    (calls::FREMOVEXATTR, Ask::RemoveOpenAttribute),
    (calls::OPEN, Ask::Open),
    (calls::OPENAT, Ask::OpenAt),
    (calls::OPENAT2, Ask::OpenWithHow),
    (calls::CREAT, Ask::Create),
    (calls::TRUNCATE, Ask::Truncate),
    (calls::MKDIR, Ask::MakeDirectory),
    (calls::MKDIRAT, Ask::MakeDirectoryAt),
    (calls::SYMLINK, Ask::MakeLink),
    (calls::SYMLINKAT, Ask::MakeLinkAt),
    (calls::MKNOD, Ask::MakeNode),
    (calls::MKNODAT, Ask::MakeNodeAt),
    (calls::BIND, Ask::Bind),
    (calls::LINK, Ask::HardLink),
    (calls::LINKAT, Ask::HardLinkAt),
    (calls::UNLINK, Ask::Unlink),
    (calls::UNLINKAT, Ask::UnlinkAt),
    (calls::RMDIR, Ask::RemoveDirectory),
    (calls::RENAME, Ask::Rename),
    (calls::RENAMEAT, Ask::RenameAt),
    (calls::RENAMEAT2, Ask::RenameAtWithFlags),
    (calls::CHMOD, Ask::ChangeMode),
    (calls::FCHMOD, Ask::ChangeOpenMode),
    (calls::FCHMODAT, Ask::ChangeModeAt),
    (calls::FCHMODAT2, Ask::ChangeModeAtWithFlags),
    (calls::CHOWN, Ask::ChangeOwner),
    (calls::LCHOWN, Ask::ChangeLinkOwner),
    (calls::FCHOWN, Ask::ChangeOpenOwner),
    (calls::FCHOWNAT, Ask::ChangeOwnerAt),
    (calls::UTIME, Ask::SetTimes),
    (calls::UTIMES, Ask::SetTimes),
    (calls::FUTIMESAT, Ask::SetTimesAt),
    (calls::UTIMENSAT, Ask::SetTimesAt),
    (calls::GETUID, Ask::GetUid),
    (calls::GETEUID, Ask::GetEffectiveUid),
    (calls::GETGID, Ask::GetGid),
    (calls::GETEGID, Ask::GetEffectiveGid),
    (calls::GETRESUID, Ask::GetThreeUids),
    (calls::GETRESGID, Ask::GetThreeGids),
    (calls::GETGROUPS, Ask::GetGroups),
    (calls::SETUID, Ask::SetUid),
    (calls::SETGID, Ask::SetGid),
    (calls::SETREUID, Ask::SetTwoUids),
    (calls::SETREGID, Ask::SetTwoGids),
    (calls::SETRESUID, Ask::SetThreeUids),
    (calls::SETRESGID, Ask::SetThreeGids),
    (calls::SETFSUID, Ask::SetFilesystemUid),
    (calls::SETFSGID, Ask::SetFilesystemGid),
    (calls::SETGROUPS, Ask::SetGroups),
    (calls::CAPGET, Ask::GetCapabilities),
    (calls::CAPSET, Ask::SetCapabilities),
    (calls::PRCTL, Ask::Process),
    (calls::EXECVE, Ask::Execute),
    (calls::EXECVEAT, Ask::ExecuteAt),
    (calls::CHROOT, Ask::ChangeRoot),
    (calls::GETSOCKOPT, Ask::SocketOption),
    (calls::GETRLIMIT, Ask::GetLimit),
    (calls::PRLIMIT64, Ask::GetOrSetLimit),
    (calls::UNAME, Ask::HostName),
];

/// The limit that carries who a process is.
const LOCKS: u32 = crate::sys::RLIMIT_LOCKS;
const IS_LOCKS_FIRST: [Condition; 1] = [Condition::int(0, Test::Equal(LOCKS))];
const IS_LOCKS_SECOND: [Condition; 1] = [Condition::int(1, Test::Equal(LOCKS))];
/// `SOL_SOCKET`, `SO_PEERCRED`.
const IS_PEER: [Condition; 2] = [Condition::int(1, Test::Equal(1)), Condition::int(2, Test::Equal(17))];

/// The options of prctl(2) that are about capabilities.
const ABOUT_CAPABILITIES: [[Condition; 1]; 7] = {
    const fn option(number: u32) -> [Condition; 1] {
        [Condition::int(0, Test::Equal(number))]
    }
    [option(7), option(8), option(23), option(24), option(27), option(28), option(47)]
};

/// What comes to the supervisor; all else is allowed.
pub fn rules() -> Vec<Rule<'static>> {
    let mut rules = Vec::new();
    for (call, ask) in ASKS {
        let conditions: &[&'static [Condition]] = match ask {
            Ask::SocketOption => &[&IS_PEER],
            Ask::GetLimit => &[&IS_LOCKS_FIRST],
            Ask::GetOrSetLimit => &[&IS_LOCKS_SECOND],
            Ask::Process => {
                rules.extend(ABOUT_CAPABILITIES.iter().map(|when| Rule { call: *call, when, action: Action::Notify }));
                continue;
            }
            _ => &[&[]],
        };
        rules.extend(conditions.iter().map(|when| Rule { call: *call, when, action: Action::Notify }));
    }
    // It is not the step's to set; that it is says nothing to any program.
    rules.push(Rule { call: calls::SETRLIMIT, when: &IS_LOCKS_FIRST, action: Action::Errno(0) });
    // Their arguments are behind pointers, and programs have older calls to go back to.
    let by_pointer = [calls::SETXATTRAT, calls::GETXATTRAT, calls::LISTXATTRAT, calls::REMOVEXATTRAT];
    rules.extend(by_pointer.map(|call| Rule::always(call, Action::Errno(filter::ENOSYS))));
    rules
}

/// The calls of this architecture by number.
pub fn numbers() -> Vec<(i32, Ask)> {
    let Some(architecture) = Architecture::HERE.first() else { return Vec::new() };
    let mut numbers: Vec<(i32, Ask)> =
        ASKS.iter().filter_map(|(call, ask)| Some((i32::try_from(call.number(*architecture)?).ok()?, *ask))).collect();
    numbers.sort_by_key(|(number, _)| *number);
    numbers
}

/// Whether flags of a call let a link at the end of a path be followed.
fn follow_unless(flags: u64) -> Follow {
    if flags & AT_SYMLINK_NOFOLLOW == 0 { Follow::Yes } else { Follow::No }
}

impl Supervisor {
    pub(super) fn decide(&mut self, listener: &OwnedFd, asked: &Asked<'_>, ask: Ask) -> Outcome {
        let a = &asked.arguments;
        const HERE: i32 = AT_FDCWD;
        match ask {
            Ask::Stat => self.stat(asked, HERE, a[0], a[1], 0),
            Ask::LinkStat => self.stat(asked, HERE, a[0], a[1], AT_SYMLINK_NOFOLLOW),
            Ask::OpenStat => self.stat_open(asked, asked.int(0), a[1]),
            Ask::StatAt => self.stat(asked, asked.int(0), a[1], a[2], a[3]),
            Ask::StatExtended => self.stat_extended(asked),
            Ask::Access => self.access(asked, HERE, a[0], a[1], 0),
            Ask::AccessAt => self.access(asked, asked.int(0), a[1], a[2], 0),
            Ask::AccessAtWithFlags => self.access(asked, asked.int(0), a[1], a[2], a[3]),
            Ask::ChangeDirectory => self.change_directory(asked),
            Ask::ListDirectory => self.list_directory(listener, asked),
            Ask::ListAttributes => self.list_attributes(asked, Some(Follow::Yes)),
            Ask::ListLinkAttributes => self.list_attributes(asked, Some(Follow::No)),
            Ask::ListOpenAttributes => self.list_attributes(asked, None),
            Ask::Attribute | Ask::LinkAttribute | Ask::OpenAttribute => self.attribute(asked),
            Ask::SetAttribute | Ask::RemoveAttribute => self.change_attribute(asked, Some(Follow::Yes)),
            Ask::SetLinkAttribute | Ask::RemoveLinkAttribute => self.change_attribute(asked, Some(Follow::No)),
            Ask::SetOpenAttribute | Ask::RemoveOpenAttribute => self.change_attribute(asked, None),
            Ask::Open => self.open(listener, asked, HERE, a[0], a[1], a[2]),
            Ask::OpenAt => self.open(listener, asked, asked.int(0), a[1], a[2], a[3]),
            // Programs have openat(2) to go back to. What starts the command has not, and cannot be looked at.
            Ask::OpenWithHow => asked.text(a[1]).and(Err(ENOSYS.into())),
            Ask::Create => self.open(listener, asked, HERE, a[0], super::making::LIKE_CREAT, a[1]),
            Ask::Truncate => self.truncate(asked),
            Ask::MakeDirectory => self.make_directory(listener, asked, HERE, a[0], a[1]),
            Ask::MakeDirectoryAt => self.make_directory(listener, asked, asked.int(0), a[1], a[2]),
            Ask::MakeLink => self.make_link(listener, asked, a[0], HERE, a[1]),
            Ask::MakeLinkAt => self.make_link(listener, asked, a[0], asked.int(1), a[2]),
            Ask::MakeNode => self.make_node(listener, asked, HERE, a[0], a[1], a[2]),
            Ask::MakeNodeAt => self.make_node(listener, asked, asked.int(0), a[1], a[2], a[3]),
            Ask::Bind => self.bind(listener, asked),
            Ask::HardLink => self.hard_link(asked, (HERE, a[0]), (HERE, a[1]), 0),
            Ask::HardLinkAt => self.hard_link(asked, (asked.int(0), a[1]), (asked.int(2), a[3]), a[4]),
            Ask::Unlink | Ask::RemoveDirectory => self.remove(asked, HERE, a[0]),
            Ask::UnlinkAt => self.remove(asked, asked.int(0), a[1]),
            Ask::Rename => self.rename(asked, (HERE, a[0]), (HERE, a[1]), 0),
            Ask::RenameAt => self.rename(asked, (asked.int(0), a[1]), (asked.int(2), a[3]), 0),
            Ask::RenameAtWithFlags => self.rename(asked, (asked.int(0), a[1]), (asked.int(2), a[3]), a[4]),
            Ask::ChangeMode => self.change_mode(asked, HERE, Some(a[0]), a[1], 0),
            Ask::ChangeOpenMode => self.change_mode(asked, asked.int(0), None, a[1], 0),
            Ask::ChangeModeAt => self.change_mode(asked, asked.int(0), Some(a[1]), a[2], 0),
            Ask::ChangeModeAtWithFlags => self.change_mode(asked, asked.int(0), Some(a[1]), a[2], a[3]),
            Ask::ChangeOwner => self.change_owner(listener, asked, HERE, Some(a[0]), (a[1], a[2]), 0),
            Ask::ChangeLinkOwner => self.change_owner(listener, asked, HERE, Some(a[0]), (a[1], a[2]), AT_SYMLINK_NOFOLLOW),
            Ask::ChangeOpenOwner => self.change_owner(listener, asked, asked.int(0), None, (a[1], a[2]), AT_EMPTY_PATH),
            Ask::ChangeOwnerAt => self.change_owner(listener, asked, asked.int(0), Some(a[1]), (a[2], a[3]), a[4]),
            Ask::SetTimes => self.set_times(asked, HERE, a[0], a[1], 0),
            Ask::SetTimesAt => self.set_times(asked, asked.int(0), a[1], a[2], a[3]),
            Ask::GetUid => Ok(Answer::Value(asked.who.user.real.into())),
            Ask::GetEffectiveUid => Ok(Answer::Value(asked.who.user.effective.into())),
            Ask::GetGid => Ok(Answer::Value(asked.who.group.real.into())),
            Ask::GetEffectiveGid => Ok(Answer::Value(asked.who.group.effective.into())),
            Ask::GetThreeUids => self.three_ids(asked, &asked.who.user),
            Ask::GetThreeGids => self.three_ids(asked, &asked.who.group),
            Ask::GetGroups => self.get_groups(asked),
            Ask::SetUid => self.become_other(asked, asked.who.set_uid(asked.number(0))),
            Ask::SetGid => self.become_other(asked, asked.who.set_gid(asked.number(0))),
            Ask::SetTwoUids => self.become_other(asked, asked.who.set_two_uids(asked.number(0), asked.number(1))),
            Ask::SetTwoGids => self.become_other(asked, asked.who.set_two_gids(asked.number(0), asked.number(1))),
            Ask::SetThreeUids => self.become_other(asked, asked.who.set_three_uids(asked.number(0), asked.number(1), asked.number(2))),
            Ask::SetThreeGids => self.become_other(asked, asked.who.set_three_gids(asked.number(0), asked.number(1), asked.number(2))),
            Ask::SetFilesystemUid => {
                self.set_filesystem_id(asked, asked.who.user.filesystem, asked.who.set_filesystem_uid(asked.number(0)))
            }
            Ask::SetFilesystemGid => {
                self.set_filesystem_id(asked, asked.who.group.filesystem, asked.who.set_filesystem_gid(asked.number(0)))
            }
            Ask::SetGroups => self.set_groups(asked),
            Ask::GetCapabilities => self.get_capabilities(asked),
            Ask::SetCapabilities => self.set_capabilities(asked),
            Ask::Process => self.process(asked),
            Ask::Execute => self.execute(asked, HERE, a[0], 0),
            Ask::ExecuteAt => self.execute(asked, asked.int(0), a[1], a[4]),
            Ask::ChangeRoot => self.change_root(asked),
            Ask::SocketOption => self.peer(asked),
            Ask::GetLimit => self.limit(asked, a[1], 0),
            Ask::GetOrSetLimit => self.limit(asked, a[3], a[0]),
            Ask::HostName => self.name(asked),
        }
    }

    /// The follow rule of a call with flags.
    pub(super) fn follow(flags: u64) -> Follow {
        follow_unless(flags)
    }
}
