//! What a command may want and cannot have in a user namespace: the last ids that it has in, the rules of a filter out; and a call that the
//! filter made wait in, what is wanted by it out.
//!
//! No device can be made there, no file be given to an id that the namespace has not, and nobody become one. Rules look at numbers alone, so
//! that no other call waits. Nothing here asks the kernel.

use super::calls::{self, Architecture, Call};
use super::filter::{Action, Condition, Rule, Test};

/// Of which sort an id is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    User,
    Group,
}

/// Calls that give a file away, with the place of the user among their arguments; the group is the next.
const OWNERS: [(Call, u8); 7] = [
    (calls::CHOWN, 1),
    (calls::LCHOWN, 1),
    (calls::FCHOWN, 1),
    (calls::CHOWN32, 1),
    (calls::LCHOWN32, 1),
    (calls::FCHOWN32, 1),
    (calls::FCHOWNAT, 2),
];
/// Calls by which a process becomes somebody, with how many ids they take from the first argument on.
const IDS: [(Call, Id, u8); 16] = [
    (calls::SETUID, Id::User, 1),
    (calls::SETGID, Id::Group, 1),
    (calls::SETREUID, Id::User, 2),
    (calls::SETREGID, Id::Group, 2),
    (calls::SETRESUID, Id::User, 3),
    (calls::SETRESGID, Id::Group, 3),
    (calls::SETFSUID, Id::User, 1),
    (calls::SETFSGID, Id::Group, 1),
    (calls::SETUID32, Id::User, 1),
    (calls::SETGID32, Id::Group, 1),
    (calls::SETREUID32, Id::User, 2),
    (calls::SETREGID32, Id::Group, 2),
    (calls::SETRESUID32, Id::User, 3),
    (calls::SETRESGID32, Id::Group, 3),
    (calls::SETFSUID32, Id::User, 1),
    (calls::SETFSGID32, Id::Group, 1),
];
/// Calls that make files of any kind, with the place of the mode; the device is the next.
const NODES: [(Call, u8); 2] = [(calls::MKNOD, 1), (calls::MKNODAT, 2)];
/// Calls whose list of groups is behind a pointer.
const GROUPS: [Call; 2] = [calls::SETGROUPS, calls::SETGROUPS32];
/// The kernel's limit for such a list.
const MOST_GROUPS: u32 = 65536;
/// An id that means: as it is.
const AS_IT_IS: u32 = u32::MAX;
/// The largest id that there can be.
pub const LAST_OF_ALL: u32 = AS_IT_IS - 1;

/// The bits of a mode that say the kind of a file, and two of the kinds.
const KIND: u32 = 0o170_000;
const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;

/// Calls with what must hold for them to want too much.
pub type Wanting = Vec<(Call, [Condition; 2])>;

/// The calls that want more than a namespace has whose last user and last group are these.
pub fn wanting(last_user: u32, last_group: u32) -> Wanting {
    let last = |id| match id {
        Id::User => last_user,
        Id::Group => last_group,
    };
    let absent = |id, argument| {
        let conditions = [Condition::int(argument, Test::Above(last(id))), Condition::int(argument, Test::Other(AS_IT_IS))];
        (last(id) < LAST_OF_ALL).then_some(conditions)
    };
    let mut all = Wanting::new();
    for (call, user) in OWNERS {
        all.extend([(Id::User, user), (Id::Group, user + 1)].into_iter().filter_map(|(id, at)| Some((call, absent(id, at)?))));
    }
    for (call, id, count) in IDS {
        all.extend((0..count).filter_map(|at| Some((call, absent(id, at)?))));
    }
    if last_group < LAST_OF_ALL {
        // Whether a group of the list is too much is seen when it waits.
        all.extend(GROUPS.map(|call| (call, [Condition::int(0, Test::Other(0)); 2])));
    }
    for (call, mode) in NODES {
        for kind in [CHARACTER, BLOCK] {
            // A device 0:0 is none: it is the mark of a removed file, and overlays make none for anybody.
            all.push((call, [Condition::bits(mode, KIND, Test::Equal(kind)), Condition::int(mode + 1, Test::Other(0))]));
        }
    }
    all
}

/// The rules by which such calls wait.
pub fn rules(wanting: &Wanting) -> impl Iterator<Item = Rule<'_>> {
    wanting.iter().map(|(call, when)| Rule { call: *call, when, action: Action::Notify })
}

/// The last id of a map as the kernel writes it: first id inside, first id outside, how many.
pub fn last_of(map: &str) -> u32 {
    let extent = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, _outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some((first, count))
    };
    let mut extents: Vec<(u32, u32)> = map.lines().filter_map(extent).collect();
    extents.sort_unstable();
    let end = extents.iter().fold(0_u32, |end, (first, count)| if *first == end { end.saturating_add(*count) } else { end });
    end.checked_sub(1).map_or(LAST_OF_ALL, |last| last.min(LAST_OF_ALL))
}

/// Where the list of groups stands that a call is about, and how many they are, each of four bytes; `None` for another call.
pub fn list_of_groups(architecture: u32, number: i32, arguments: [u64; 6]) -> Option<(u64, usize)> {
    let architecture = Architecture::HERE.iter().find(|here| here.audit() == architecture)?;
    let is = |call: &Call| call.number(*architecture).is_some_and(|own| i32::try_from(own) == Ok(number));
    let count = arguments[0] as u32;
    // What the kernel would not take has no list; neither have the calls of 16-bit ids, which name no group that is too much.
    let has_list = count <= MOST_GROUPS && (!is(&calls::SETGROUPS) || calls::SETGROUPS32.number(*architecture).is_none());
    GROUPS.iter().any(is).then_some((arguments[1], if has_list { count as usize } else { 0 }))
}

/// What a call that waits wants, for people, where it is one of these: the kernel's names of an architecture and a call, and its arguments.
pub fn wanted(architecture: u32, number: i32, arguments: [u64; 6]) -> Option<String> {
    let architecture = Architecture::HERE.iter().find(|here| here.audit() == architecture)?;
    let is = |call: &Call| call.number(*architecture).is_some_and(|own| i32::try_from(own) == Ok(number));
    // What the kernel takes as an `unsigned int`.
    let number = |at: u8| arguments.get(usize::from(at)).copied().unwrap_or_default() as u32;
    if let Some((_, mode)) = NODES.iter().find(|(call, _)| is(call)) {
        let device = number(mode + 1);
        let (major, minor) = ((device & 0xfff00) >> 8, (device & 0xff) | ((device >> 12) & 0xfff00));
        let kind = if number(*mode) & KIND == BLOCK { "block" } else { "character" };
        return Some(format!("to make the {kind} device {major}:{minor}"));
    }
    if let Some((_, user)) = OWNERS.iter().find(|(call, _)| is(call)) {
        return Some(match (number(*user), number(user + 1)) {
            (user, AS_IT_IS) => format!("to give a file to the user {user}"),
            (AS_IT_IS, group) => format!("to give a file to the group {group}"),
            (user, group) => format!("to give a file to {user}:{group}"),
        });
    }
    let (_, id, count) = IDS.iter().find(|(call, _, _)| is(call))?;
    let largest = (0..*count).map(number).filter(|id| *id != AS_IT_IS).max()?;
    Some(match id {
        Id::User => format!("to become the user {largest}"),
        Id::Group => format!("to become the group {largest}"),
    })
}

#[cfg(test)]
#[path = "wanted_tests.rs"]
mod tests;
