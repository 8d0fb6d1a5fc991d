//! Which ids of the host a user namespace has: the user database's text in, extents out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Options, Unusable};

/// A run of consecutive ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// The first id inside the namespace.
    pub inside: u32,
    /// The first id as the caller sees it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// How the ids in a namespace are the ids on disk. Directories that a step has seen are only good for steps of the same mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMapping {
    /// Real root: every id is itself.
    Identity,
    /// An ordinary user with ranges of his own, or root in a namespace that has not all ids.
    Ranges {
        /// Users, ascending inside.
        uids: Vec<Extent>,
        /// Groups, ascending inside.
        gids: Vec<Extent>,
    },
    /// The caller alone, as 0:0. Whom a file belongs to does not stand in its inode.
    Single {
        /// The caller.
        uid: u32,
        /// His group.
        gid: u32,
    },
}

impl IdMapping {
    /// A name for directories that are good for this mapping only: `root`, the extents, such as `1000-100000-65536`, or `single-1000-1000`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            IdMapping::Identity => "root".to_owned(),
            IdMapping::Ranges { uids, gids } => {
                let mut name = extents_name(uids);
                if uids != gids {
                    let _ = write!(name, "_{}", extents_name(gids));
                }
                name
            }
            IdMapping::Single { uid, gid } => format!("single-{uid}-{gid}"),
        }
    }

    /// How many users there are in the namespace.
    pub(super) fn count(&self) -> u64 {
        match self {
            IdMapping::Identity => u64::from(u32::MAX),
            IdMapping::Single { .. } => 1,
            IdMapping::Ranges { uids, gids: _ } => uids.iter().map(|extent| u64::from(extent.count)).sum(),
        }
    }
}

fn extents_name(extents: &[Extent]) -> String {
    let mut name = String::new();
    for extent in extents {
        if !name.is_empty() {
            name.push('-');
        }
        let _ = write!(name, "{}", extent.outside);
        if extent.count != 1 {
            let _ = write!(name, "-{}", extent.count);
        }
    }
    name
}

/// Who the builder runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Caller {
    pub(super) fn current() -> Caller {
        Caller { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// Ids for a namespace, and how it gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappingPlan {
    pub(super) mapping: IdMapping,
    uids: Vec<Extent>,
    gids: Vec<Extent>,
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Root writes the maps himself.
    Write,
    /// Whoever it is writes a map of himself alone, which the kernel allows where no groups can be dropped.
    WriteOwn,
    /// Programs with more rights do it.
    Programs { newuidmap: PathBuf, newgidmap: PathBuf },
}

/// Finds out which ids the caller may have.
pub(super) fn plan(caller: &Caller, options: &Options) -> Result<MappingPlan, Unusable> {
    if caller.uid == 0 {
        let own = |path: &str| read(Path::new(path)).map(|text| parse_own_map(&text));
        let (uids, gids) = (own("/proc/self/uid_map")?, own("/proc/self/gid_map")?);
        let all = [Extent { inside: 0, outside: 0, count: u32::MAX }];
        let mapping =
            if uids == all && gids == all { IdMapping::Identity } else { IdMapping::Ranges { uids: uids.clone(), gids: gids.clone() } };
        return Ok(MappingPlan { mapping, uids, gids, way: Way::Write });
    }
    let name = user_name(&read(&options.passwd).unwrap_or_default(), caller.uid);
    let ranges = |path: &Path, own: u32| -> Result<Vec<Extent>, Unusable> {
        let ranges = parse_ranges(&read(path).unwrap_or_default(), name.as_deref(), caller.uid);
        if ranges.is_empty() {
            let user = name.clone().unwrap_or_else(|| caller.uid.to_string());
            return Err(Unusable {
                reason: format!("user `{user}` has no range of ids in `{}`", path.display()),
                remedy: format!("give him one: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
                source: None,
            });
        }
        Ok(extents(own, &ranges))
    };
    let (uids, gids) = (ranges(&options.subuid, caller.uid)?, ranges(&options.subgid, caller.gid)?);
    let program = |name: &str| {
        options.programs.iter().map(|directory| directory.join(name)).find(|path| path.is_file()).ok_or_else(|| Unusable {
            reason: format!("the program `{name}`, which gives an ordinary user his range of ids, is not there"),
            remedy: "install the package uidmap (on Fedora: shadow-utils)".to_owned(),
            source: None,
        })
    };
    let way = Way::Programs { newuidmap: program("newuidmap")?, newgidmap: program("newgidmap")? };
    let mapping = IdMapping::Ranges { uids: uids.clone(), gids: gids.clone() };
    Ok(MappingPlan { mapping, uids, gids, way })
}

/// The caller alone.
pub(super) fn plan_single(caller: &Caller) -> MappingPlan {
    let Caller { uid, gid } = *caller;
    let own = |outside| vec![Extent { inside: 0, outside, count: 1 }];
    MappingPlan { mapping: IdMapping::Single { uid, gid }, uids: own(uid), gids: own(gid), way: Way::WriteOwn }
}

impl MappingPlan {
    /// Gives the ids to the namespace of a process.
    pub(super) fn write(&self, pid: u32) -> Result<(), Unusable> {
        match &self.way {
            Way::WriteOwn => {
                let path = format!("/proc/{pid}/setgroups");
                std::fs::write(&path, "deny").map_err(|source| Unusable {
                    reason: format!("cannot write `{path}`: {source}"),
                    remedy: "allow user namespaces with a map of the caller alone".to_owned(),
                    source: Some(source),
                })?;
                write_map(pid, "uid_map", &self.uids)?;
                write_map(pid, "gid_map", &self.gids)
            }
            Way::Write => {
                write_map(pid, "uid_map", &self.uids)?;
                write_map(pid, "gid_map", &self.gids)
            }
            Way::Programs { newuidmap, newgidmap } => {
                run_program(newuidmap, pid, &self.uids)?;
                run_program(newgidmap, pid, &self.gids)
            }
        }
    }
}

fn read(path: &Path) -> Result<String, Unusable> {
    let text = std::fs::read(path).map_err(|source| Unusable {
        reason: format!("cannot read `{}`", path.display()),
        remedy: "make it readable".to_owned(),
        source: Some(source),
    })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write_map(pid: u32, file: &str, extents: &[Extent]) -> Result<(), Unusable> {
    let lines: Vec<String> = extents.iter().map(|extent| format!("{} {} {}", extent.inside, extent.outside, extent.count)).collect();
    std::fs::write(format!("/proc/{pid}/{file}"), lines.join("\n")).map_err(|source| Unusable {
        reason: format!("the kernel does not let the sandbox's namespace have the caller's ids ({file}): {source}"),
        remedy:
            "give the caller CAP_SETUID, CAP_SETGID and CAP_SETFCAP, or run as an ordinary user with ranges in /etc/subuid and /etc/subgid"
                .to_owned(),
        source: Some(source),
    })
}

#[expect(clippy::disallowed_methods, reason = "only this program may give an ordinary user's namespace a range of ids")]
fn run_program(program: &Path, pid: u32, extents: &[Extent]) -> Result<(), Unusable> {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").stdin(Stdio::null()).arg(pid.to_string());
    for extent in extents {
        command.args([extent.inside, extent.outside, extent.count].map(|number| number.to_string()));
    }
    let refused = |why: &str, source| Unusable {
        reason: format!("`{}` does not give the sandbox its ids: {}", program.display(), why.trim()),
        remedy:
            "it must be set-user-id root or have the file capability, on a file system without nosuid, and /etc/subuid and /etc/subgid \
                 must name ranges that no other user has"
                .to_owned(),
        source,
    };
    let output = command.output().map_err(|error| refused("it does not start", Some(error)))?;
    if output.status.success() { Ok(()) } else { Err(refused(&String::from_utf8_lossy(&output.stderr), None)) }
}

/// The lines of a `uid_map`, as ids that are themselves.
fn parse_own_map(text: &str) -> Vec<Extent> {
    let mut extents: Vec<Extent> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next()) else { return None };
            Some(Extent { inside, outside: inside, count })
        })
        .collect();
    extents.sort();
    extents
}

/// The name of a user; text as in passwd(5).
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

/// The ranges of a user, first and count; text as in subuid(5), where a user stands by name or number.
fn parse_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let (first, count) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
            let ours = Some(owner) == name || owner == number;
            (ours && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
        })
        .collect()
}

/// Own id as 0, then the ranges one after another.
fn extents(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut inside = 1_u32;
    for &(outside, count) in ranges {
        let Some(next) = inside.checked_add(count) else { break };
        extents.push(Extent { inside, outside, count });
        inside = next;
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number_and_nonsense_is_passed_over() {
        let text = "alice:100000:65536\n\nbob:1:1\n1000:300000:10\nalice:x:5\nalice:4294967295:5\nalice:7:0\nalice\n";
        assert_eq!(parse_ranges(text, Some("alice"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(parse_ranges(text, None, 5), []);
    }

    #[test]
    fn the_own_id_is_root_and_ranges_follow_without_gaps() {
        let extents = extents(1000, &[(100_000, 65536), (300_000, 10)]);
        let expected = [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)];
        assert_eq!(extents, expected.map(|(inside, outside, count)| Extent { inside, outside, count }));
    }

    #[test]
    fn a_mapping_is_named_by_its_ids_and_groups_only_where_they_differ() {
        let uids = extents(1000, &[(100_000, 65536)]);
        let same = IdMapping::Ranges { uids: uids.clone(), gids: uids.clone() };
        assert_eq!(same.name(), "1000-100000-65536");
        let other = IdMapping::Ranges { uids, gids: extents(100, &[(100_000, 65536)]) };
        assert_eq!(other.name(), "1000-100000-65536_100-100000-65536");
        assert_eq!(IdMapping::Identity.name(), "root");
    }

    #[test]
    fn a_user_is_named_by_the_third_field() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n:x:7:7::/:\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 7), None);
        assert_eq!(user_name("x", 0), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parsers(text in ".{0,200}", uid: u32) {
            let ranges = parse_ranges(&text, user_name(&text, uid).as_deref(), uid);
            let _ = extents(uid, &ranges);
            let _ = parse_own_map(&text);
        }
    }
}
