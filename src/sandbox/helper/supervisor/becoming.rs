//! Who a process is and becomes: the calls about its ids, groups, capabilities, program and root.

use std::rc::Rc;

use super::credentials::{Ambient, Credentials, Ids, LAST, OF_FILES, Program, ProgramCapabilities, Refused, Root, SYS_CHROOT, Wish};
use super::process::{AT_EMPTY_PATH, Asked, Running, personality_of, status_of};
use super::walk::Node;
use super::{Answer, Outcome, Pending, Stop, Supervisor};
use crate::sys::{self, At, EACCES, EINVAL, EPERM, Follow};

const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o10;
/// The most groups that the kernel takes.
const MOST_GROUPS: usize = 65536;
/// `RLIM_INFINITY`.
const UNLIMITED: u64 = u64::MAX;

impl Supervisor {
    /// The end of a call that makes the process somebody else.
    pub(super) fn become_other(&mut self, asked: &Asked<'_>, new: Result<Credentials, Refused>) -> Outcome {
        self.is_now(asked.pid, &Rc::new(new?))?;
        Ok(Answer::Value(0))
    }

    /// These calls answer with what was before, and say nothing of a refusal.
    pub(super) fn set_filesystem_id(&mut self, asked: &Asked<'_>, before: u32, new: Credentials) -> Outcome {
        // They are about one thread alone; who a process is, is the same for all its threads here.
        if new != *asked.who && asked.status("Threads")? == "1" {
            self.is_now(asked.pid, &Rc::new(new))?;
        }
        Ok(Answer::Value(before.into()))
    }

    pub(super) fn three_ids(&self, asked: &Asked<'_>, ids: &Ids) -> Outcome {
        for (address, id) in asked.arguments.iter().zip([ids.real, ids.effective, ids.saved]) {
            asked.write_number(*address, id)?;
        }
        Ok(Answer::Value(0))
    }

    pub(super) fn get_groups(&self, asked: &Asked<'_>) -> Outcome {
        let groups = &asked.who.groups;
        let (size, list) = (asked.int(0), asked.arguments[1]);
        if size != 0 {
            if usize::try_from(size).map_or(true, |size| size < groups.len()) {
                return Err(EINVAL.into());
            }
            let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_le_bytes()).collect();
            asked.write(list, &bytes)?;
        }
        Ok(Answer::Value(groups.len() as i64))
    }

    pub(super) fn set_groups(&mut self, asked: &Asked<'_>) -> Outcome {
        let count = usize::try_from(asked.int(0)).ok().filter(|count| *count <= MOST_GROUPS).ok_or(EINVAL)?;
        let groups = if count == 0 { Vec::new() } else { asked.numbers(asked.arguments[1], count)? };
        let new = asked.who.set_groups(&groups);
        self.become_other(asked, new)
    }

    pub(super) fn get_capabilities(&self, asked: &Asked<'_>) -> Outcome {
        let (version, sets) = self.capability_header(asked)?;
        let data = asked.arguments[1];
        if data == 0 {
            return Ok(Answer::Value(0));
        }
        let of = &asked.who.capabilities;
        let half = |shift: u32| [of.effective, of.permitted, of.inheritable].map(|set| (set >> shift) as u32);
        let numbers = [half(0), half(32)].concat();
        let bytes: Vec<u8> = numbers.iter().take(3 * sets).flat_map(|number| number.to_le_bytes()).collect();
        let _ = version;
        asked.write(data, &bytes)?;
        Ok(Answer::Value(0))
    }

    pub(super) fn set_capabilities(&mut self, asked: &Asked<'_>) -> Outcome {
        let (_, sets) = self.capability_header(asked)?;
        let numbers = asked.numbers(asked.arguments[1], 3 * sets)?;
        let whole = |index: usize| {
            let high = numbers.get(index + 3).copied().unwrap_or(0);
            (u64::from(numbers[index]) | u64::from(high) << 32) & ((1 << (LAST + 1)) - 1)
        };
        let new = asked.who.set_capabilities(whole(0), whole(1), whole(2));
        self.become_other(asked, new)
    }

    /// Version and number of sets of a call about the process's own capabilities.
    fn capability_header(&self, asked: &Asked<'_>) -> Result<(u32, usize), Stop> {
        const ONE: u32 = 0x1998_0330;
        const TWO: u32 = 0x2007_1026;
        const THREE: u32 = 0x2008_0522;
        let address = asked.arguments[0];
        let header = asked.numbers(address, 2)?;
        let (version, pid) = (header[0], header[1]);
        let sets = match version {
            ONE => 1,
            TWO | THREE => 2,
            _ => {
                asked.write_number(address, THREE)?;
                return Err(if asked.arguments[1] == 0 { Stop::Kernel } else { EINVAL.into() });
            }
        };
        let own = asked.status("NSpid")?;
        if pid != 0 && own.split_whitespace().last() != Some(pid.to_string().as_str()) {
            return Err(Stop::Kernel);
        }
        Ok((version, sets))
    }

    /// The options of prctl(2) that are about capabilities.
    pub(super) fn process(&mut self, asked: &Asked<'_>) -> Outcome {
        let (option, a, b) = (asked.int(0), asked.arguments[1], asked.arguments[2]);
        let who = &asked.who;
        let new = match option {
            7 => return Ok(Answer::Value(i64::from(who.keeps_capabilities()))),
            8 => who.set_keep(a),
            23 if a > LAST => return Err(EINVAL.into()),
            23 => return Ok(Answer::Value(i64::from(who.capabilities.bounding >> a & 1 == 1))),
            24 => {
                let new = who.drop_bounding(a)?;
                self.is_now(asked.pid, &Rc::new(new))?;
                // What the kernel says of the set is true, but for what the model needs of the process.
                return if OF_FILES >> a & 1 == 1 && a != 0 { Ok(Answer::Value(0)) } else { Ok(Answer::Kernel) };
            }
            27 => return Ok(Answer::Value(who.secure.into())),
            28 => u32::try_from(a).map_err(|_| Refused::NotPermitted).and_then(|bits| who.set_secure(bits)),
            47 => match (a, b) {
                (1, capability) if capability <= LAST => return Ok(Answer::Value(i64::from(who.capabilities.ambient >> b & 1 == 1))),
                (2, _) => who.set_ambient(Ambient::Raise(b)),
                (3, _) => who.set_ambient(Ambient::Lower(b)),
                (4, _) => who.set_ambient(Ambient::Clear),
                _ => return Err(EINVAL.into()),
            },
            _ => return Ok(Answer::Kernel),
        };
        self.become_other(asked, new)
    }

    pub(super) fn execute(&mut self, asked: &Asked<'_>, directory: i32, path: u64, flags: u64) -> Outcome {
        let path = asked.text(path)?;
        let subject = asked.who.subject();
        let follow = Self::follow(flags);
        let node = if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            self.found(asked, directory, b"", Follow::Yes)?
        } else if asked.who.can(super::credentials::DAC_OVERRIDE) {
            match self.found(asked, directory, &path, follow) {
                Ok(node) => node,
                // The kernel says what is wrong with it.
                Err(_) => return Ok(Answer::Kernel),
            }
        } else {
            let node = self.walk(asked, &subject, directory, &path, follow)?.existing()?;
            node.may(&subject, Wish::SEARCH)?;
            node
        };
        if node.stat.kind() != sys::S_IFREG {
            return Ok(Answer::Kernel);
        }
        let program = program_of(asked, &node)?;
        let then = asked.who.after_exec(&program);
        if then != *asked.who {
            // Its first thread's id is that of the new program, whichever thread asks.
            let pid = asked.process()?;
            let before = Running::of(pid);
            self.pending.insert(pid, Pending { then: Rc::new(then), before });
        }
        Ok(Answer::Kernel)
    }

    pub(super) fn change_root(&mut self, asked: &Asked<'_>) -> Outcome {
        if !asked.who.can(SYS_CHROOT) {
            return Err(EPERM.into());
        }
        let who = Credentials { root: Root::Maybe, ..Credentials::clone(&asked.who) };
        self.is_now(asked.pid, &Rc::new(who))?;
        Ok(Answer::Kernel)
    }

    /// What the kernel says of itself and of the machine, with the step's host name.
    pub(super) fn name(&self, asked: &Asked<'_>) -> Outcome {
        let Some(name) = &self.host_name else { return Ok(Answer::Kernel) };
        let personality = personality_of(asked.pid)?;
        asked.write(asked.arguments[0], &crate::name::told(name, personality)?)?;
        Ok(Answer::Value(0))
    }

    /// Who is at the other end of a local socket.
    pub(super) fn peer(&self, asked: &Asked<'_>) -> Outcome {
        let socket = match sys::take_descriptor(asked.process()?, asked.int(0)) {
            Ok(socket) => socket,
            Err(_) => return Ok(Answer::Kernel),
        };
        let Ok([pid, ..]) = sys::peer(&socket) else { return Ok(Answer::Kernel) };
        let Some(peer) = self.who_is(pid).filter(|_| pid != 0) else { return Ok(Answer::Kernel) };
        let (value, length) = (asked.arguments[3], asked.arguments[4]);
        let room = asked.numbers(length, 1)?[0];
        let inside = status_of(pid, "NSpid")?.split_whitespace().last().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        let bytes: Vec<u8> =
            [inside, peer.user.effective, peer.group.effective].iter().flat_map(|number: &u32| number.to_le_bytes()).collect();
        let count = usize::try_from(room).unwrap_or(0).min(bytes.len());
        asked.write(value, &bytes[..count])?;
        asked.write_number(length, count as u32)?;
        Ok(Answer::Value(0))
    }

    /// The limit that carries who a process is: nothing to be seen, and not to be set.
    pub(super) fn limit(&self, asked: &Asked<'_>, address: u64, _pid: u64) -> Outcome {
        if address != 0 {
            asked.write(address, &[UNLIMITED.to_le_bytes(), UNLIMITED.to_le_bytes()].concat())?;
        }
        Ok(Answer::Value(0))
    }
}

/// What a program does to who runs it.
fn program_of(asked: &Asked<'_>, node: &Node) -> Result<Program, Stop> {
    let mode = node.stat.mode;
    let capabilities = capabilities_of(node);
    let set_uid = mode & S_ISUID != 0;
    let set_gid = mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP;
    if !set_uid && !set_gid && capabilities.is_none() {
        return Ok(Program::default());
    }
    if is_script(node)? || asked.status("NoNewPrivs")? == "1" {
        return Ok(Program::default());
    }
    Ok(Program { uid: set_uid.then_some(node.owner.uid), gid: set_gid.then_some(node.owner.gid), capabilities })
}

/// The bits of a script count for nothing: what runs is its interpreter.
fn is_script(node: &Node) -> Result<bool, Stop> {
    let file = match sys::open(At::Root, &super::owners::own_path(&node.fd), sys::O_RDONLY | sys::O_NONBLOCK, 0, sys::ANYWHERE) {
        Err(EACCES) => return Ok(false),
        file => file?,
    };
    let mut head = [0; 2];
    Ok(sys::read(&file, &mut head)? == 2 && head == *b"#!")
}

/// `security.capability`, as linux/capability.h has it.
fn capabilities_of(node: &Node) -> Option<ProgramCapabilities> {
    let mut value = [0_u8; 32];
    let count = sys::short_xattr(&super::owners::own_path(&node.fd), c"security.capability", Follow::Yes, &mut value).ok()?;
    if count < 20 {
        return None;
    }
    let number = |at: usize| u64::from(u32::from_le_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]));
    Some(ProgramCapabilities {
        permitted: number(4) | number(12) << 32,
        inheritable: number(8) | number(16) << 32,
        effective: number(0) & 1 == 1,
    })
}
