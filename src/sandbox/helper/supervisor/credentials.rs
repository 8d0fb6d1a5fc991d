//! Who a process is for itself: its ids, groups and capabilities in, what the kernel would make of a change of them out.
//!
//! The rules are those of credentials(7), setuid(2) and its kin, and capabilities(7). Nothing here asks the kernel.

/// The value that stands for "as it is" in calls that change several ids.
pub const KEEP: u32 = u32::MAX;

/// Capabilities as bits, numbered as in capability(7).
pub const CHOWN: u64 = 1;
pub const DAC_OVERRIDE: u64 = 1 << 1;
pub const DAC_READ_SEARCH: u64 = 1 << 2;
pub const FOWNER: u64 = 1 << 3;
pub const FSETID: u64 = 1 << 4;
pub const SETGID: u64 = 1 << 6;
pub const SETUID: u64 = 1 << 7;
pub const SETPCAP: u64 = 1 << 8;
pub const SYS_CHROOT: u64 = 1 << 18;
pub const MKNOD: u64 = 1 << 27;
pub const SETFCAP: u64 = 1 << 31;
/// Those that go and come with user 0 of the file system.
pub const OF_FILES: u64 = CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID | 1 << 9 | MKNOD | 1 << 32;
/// The last capability there is.
pub const LAST: u64 = 40;

/// Bits of `PR_SET_SECUREBITS`.
const NO_ROOT: u32 = 1;
const NO_FIXUP: u32 = 1 << 2;
const KEEP_CAPABILITIES: u32 = 1 << 4;
const KEEP_CAPABILITIES_LOCKED: u32 = 1 << 5;
const NO_AMBIENT_RAISE: u32 = 1 << 6;
const ALL_LOCKS: u32 = 0xaa;
const ALL_SECURE: u32 = 0xff;

/// A change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `EPERM`.
    NotPermitted,
    /// `EINVAL`.
    Invalid,
}

/// The four ids of a user or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    pub filesystem: u32,
}

impl Ids {
    pub const fn all(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, filesystem: id }
    }

    const fn has(&self, id: u32) -> bool {
        id == self.real || id == self.effective || id == self.saved
    }

    /// `setuid(2)`, `setgid(2)`.
    fn set(&self, id: u32, privileged: bool) -> Result<Ids, Refused> {
        if id == KEEP {
            return Err(Refused::Invalid);
        }
        if privileged {
            Ok(Ids::all(id))
        } else if id == self.real || id == self.saved {
            Ok(Ids { effective: id, filesystem: id, ..*self })
        } else {
            Err(Refused::NotPermitted)
        }
    }

    /// `setreuid(2)`, `setregid(2)`. Groups may not take the saved id as the real one, nor may users.
    fn set_two(&self, real: u32, effective: u32, privileged: bool) -> Result<Ids, Refused> {
        let mut new = *self;
        if real != KEEP {
            if !privileged && real != self.real && real != self.effective {
                return Err(Refused::NotPermitted);
            }
            new.real = real;
        }
        if effective != KEEP {
            if !privileged && !self.has(effective) {
                return Err(Refused::NotPermitted);
            }
            new.effective = effective;
        }
        if real != KEEP || (effective != KEEP && effective != self.real) {
            new.saved = new.effective;
        }
        new.filesystem = new.effective;
        Ok(new)
    }

    /// `setresuid(2)`, `setresgid(2)`.
    fn set_three(&self, real: u32, effective: u32, saved: u32, privileged: bool) -> Result<Ids, Refused> {
        if !privileged && [real, effective, saved].iter().any(|&id| id != KEEP && !self.has(id)) {
            return Err(Refused::NotPermitted);
        }
        let or = |new: u32, old: u32| if new == KEEP { old } else { new };
        let effective = or(effective, self.effective);
        Ok(Ids { real: or(real, self.real), effective, saved: or(saved, self.saved), filesystem: effective })
    }

    /// `setfsuid(2)`, `setfsgid(2)`: what is refused changes nothing.
    fn set_filesystem(&self, id: u32, privileged: bool) -> Ids {
        if id != KEEP && (privileged || self.has(id) || id == self.filesystem) { Ids { filesystem: id, ..*self } } else { *self }
    }
}

/// The sets of capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capabilities {
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credentials {
    pub user: Ids,
    pub group: Ids,
    /// Supplementary groups, sorted as the kernel keeps them.
    pub groups: Vec<u32>,
    pub capabilities: Capabilities,
    /// The bits of `PR_SET_SECUREBITS`.
    pub secure: u32,
    /// Whether its root may be another than the step's.
    pub root: Root,
}

/// What a process has as its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// That of the step.
    OfTheStep,
    /// It or one before it has called `chroot(2)`.
    Maybe,
}

/// An id of whom a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    pub const ROOT: Owner = Owner { uid: 0, gid: 0 };
}

/// What is wanted of a file, as bits of a mode's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish(pub u16);

impl Wish {
    pub const SEARCH: Wish = Wish(1);
    pub const WRITE: Wish = Wish(2);
    pub const READ: Wish = Wish(4);
    /// Making and removing names.
    pub const CHANGE: Wish = Wish(3);
}

/// What a permission depends on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'c> {
    pub uid: u32,
    pub gid: u32,
    pub groups: &'c [u32],
    pub capabilities: u64,
}

const DIRECTORY: u16 = 0o040_000;
const KIND: u16 = 0o170_000;

impl Subject<'_> {
    pub fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether a file of this owner and mode (with its kind) can be used so.
    pub fn may(&self, owner: Owner, mode: u16, wish: Wish) -> bool {
        let class = if self.uid == owner.uid {
            mode >> 6
        } else if self.is_in(owner.gid) {
            mode >> 3
        } else {
            mode
        };
        if class & wish.0 == wish.0 {
            return true;
        }
        if mode & KIND == DIRECTORY {
            return self.capabilities & DAC_OVERRIDE != 0 || (wish.0 & Wish::WRITE.0 == 0 && self.capabilities & DAC_READ_SEARCH != 0);
        }
        (wish == Wish::READ && self.capabilities & DAC_READ_SEARCH != 0)
            || ((wish.0 & Wish::SEARCH.0 == 0 || mode & 0o111 != 0) && self.capabilities & DAC_OVERRIDE != 0)
    }

    /// Whether what only a file's owner may do may be done.
    pub fn owns(&self, owner: Owner) -> bool {
        self.uid == owner.uid || self.capabilities & FOWNER != 0
    }
}

/// A program that is about to run, as far as it changes who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Program {
    /// Its owner, where it is set-user-id.
    pub uid: Option<u32>,
    /// Its group, where it is set-group-id.
    pub gid: Option<u32>,
    /// Its capabilities, where it has some.
    pub capabilities: Option<ProgramCapabilities>,
}

/// `security.capability` of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCapabilities {
    pub permitted: u64,
    pub inheritable: u64,
    pub effective: bool,
}

impl Credentials {
    /// A command of a step: what it may do as user 0, whom it runs as.
    pub fn of_step(uid: u32, gid: u32, groups: &[u32], capabilities: u64) -> Credentials {
        let own = if uid == 0 { capabilities } else { 0 };
        Credentials {
            user: Ids::all(uid),
            group: Ids::all(gid),
            groups: sorted(groups),
            capabilities: Capabilities { permitted: own, effective: own, inheritable: 0, bounding: capabilities, ambient: 0 },
            secure: 0,
            root: Root::OfTheStep,
        }
    }

    pub fn can(&self, capability: u64) -> bool {
        self.capabilities.effective & capability == capability
    }

    /// As whom files are used.
    pub fn subject(&self) -> Subject<'_> {
        Subject { uid: self.user.filesystem, gid: self.group.filesystem, groups: &self.groups, capabilities: self.capabilities.effective }
    }

    /// As whom `access(2)` asks: the real user.
    pub fn real_subject(&self) -> Subject<'_> {
        let capabilities = match (self.secure & NO_FIXUP, self.user.real) {
            (0, 0) => self.capabilities.permitted,
            (0, _) => 0,
            (_, _) => self.capabilities.effective,
        };
        Subject { uid: self.user.real, gid: self.group.real, groups: &self.groups, capabilities }
    }

    /// Whom new files belong to.
    pub fn owner(&self) -> Owner {
        Owner { uid: self.user.filesystem, gid: self.group.filesystem }
    }

    pub fn set_uid(&self, id: u32) -> Result<Credentials, Refused> {
        Ok(self.with_user(self.user.set(id, self.can(SETUID))?))
    }

    pub fn set_two_uids(&self, real: u32, effective: u32) -> Result<Credentials, Refused> {
        Ok(self.with_user(self.user.set_two(real, effective, self.can(SETUID))?))
    }

    pub fn set_three_uids(&self, real: u32, effective: u32, saved: u32) -> Result<Credentials, Refused> {
        Ok(self.with_user(self.user.set_three(real, effective, saved, self.can(SETUID))?))
    }

    pub fn set_filesystem_uid(&self, id: u32) -> Credentials {
        let mut new = self.clone();
        new.user = self.user.set_filesystem(id, self.can(SETUID));
        if self.secure & NO_FIXUP == 0 {
            let capabilities = &mut new.capabilities;
            if self.user.filesystem == 0 && new.user.filesystem != 0 {
                capabilities.effective &= !OF_FILES;
            } else if self.user.filesystem != 0 && new.user.filesystem == 0 {
                capabilities.effective |= capabilities.permitted & OF_FILES;
            }
        }
        new
    }

    pub fn set_gid(&self, id: u32) -> Result<Credentials, Refused> {
        Ok(Credentials { group: self.group.set(id, self.can(SETGID))?, ..self.clone() })
    }

    pub fn set_two_gids(&self, real: u32, effective: u32) -> Result<Credentials, Refused> {
        Ok(Credentials { group: self.group.set_two(real, effective, self.can(SETGID))?, ..self.clone() })
    }

    pub fn set_three_gids(&self, real: u32, effective: u32, saved: u32) -> Result<Credentials, Refused> {
        Ok(Credentials { group: self.group.set_three(real, effective, saved, self.can(SETGID))?, ..self.clone() })
    }

    pub fn set_filesystem_gid(&self, id: u32) -> Credentials {
        Credentials { group: self.group.set_filesystem(id, self.can(SETGID)), ..self.clone() }
    }

    pub fn set_groups(&self, groups: &[u32]) -> Result<Credentials, Refused> {
        if !self.can(SETGID) {
            return Err(Refused::NotPermitted);
        }
        if groups.contains(&KEEP) {
            return Err(Refused::Invalid);
        }
        Ok(Credentials { groups: sorted(groups), ..self.clone() })
    }

    /// New ids of the user, with what that does to the capabilities.
    fn with_user(&self, user: Ids) -> Credentials {
        let mut new = Credentials { user, ..self.clone() };
        if self.secure & NO_FIXUP == 0 {
            let (old, capabilities) = (&self.user, &mut new.capabilities);
            if old.has(0) && !user.has(0) {
                if self.secure & KEEP_CAPABILITIES == 0 {
                    capabilities.permitted = 0;
                    capabilities.effective = 0;
                }
                capabilities.ambient = 0;
            }
            if old.effective == 0 && user.effective != 0 {
                capabilities.effective = 0;
            }
            if old.effective != 0 && user.effective == 0 {
                capabilities.effective = capabilities.permitted;
            }
        }
        new
    }

    /// `capset(2)`.
    pub fn set_capabilities(&self, effective: u64, permitted: u64, inheritable: u64) -> Result<Credentials, Refused> {
        let old = &self.capabilities;
        let within = |set: u64, bound: u64| set & !bound == 0;
        let fine = (self.can(SETPCAP) || within(inheritable, old.inheritable | old.permitted))
            && within(inheritable, old.inheritable | old.bounding)
            && within(permitted, old.permitted)
            && within(effective, permitted);
        if !fine {
            return Err(Refused::NotPermitted);
        }
        let ambient = old.ambient & permitted & inheritable;
        Ok(Credentials { capabilities: Capabilities { permitted, effective, inheritable, ambient, ..*old }, ..self.clone() })
    }

    /// `PR_CAPBSET_DROP`.
    pub fn drop_bounding(&self, capability: u64) -> Result<Credentials, Refused> {
        if !self.can(SETPCAP) {
            return Err(Refused::NotPermitted);
        }
        if capability > LAST {
            return Err(Refused::Invalid);
        }
        let capabilities = Capabilities { bounding: self.capabilities.bounding & !(1 << capability), ..self.capabilities };
        Ok(Credentials { capabilities, ..self.clone() })
    }

    pub fn keeps_capabilities(&self) -> bool {
        self.secure & KEEP_CAPABILITIES != 0
    }

    /// `PR_SET_KEEPCAPS`.
    pub fn set_keep(&self, keep: u64) -> Result<Credentials, Refused> {
        if keep > 1 {
            return Err(Refused::Invalid);
        }
        if self.secure & KEEP_CAPABILITIES_LOCKED != 0 {
            return Err(Refused::NotPermitted);
        }
        let secure = if keep == 1 { self.secure | KEEP_CAPABILITIES } else { self.secure & !KEEP_CAPABILITIES };
        Ok(Credentials { secure, ..self.clone() })
    }

    /// `PR_SET_SECUREBITS`.
    pub fn set_secure(&self, bits: u32) -> Result<Credentials, Refused> {
        let changed = bits ^ self.secure;
        let locked = (self.secure & ALL_LOCKS) >> 1;
        let unlocks = self.secure & ALL_LOCKS & !bits != 0;
        if changed & locked != 0 || unlocks || bits & !ALL_SECURE != 0 || !self.can(SETPCAP) {
            return Err(Refused::NotPermitted);
        }
        Ok(Credentials { secure: bits, ..self.clone() })
    }

    /// `PR_CAP_AMBIENT` with raising, lowering or clearing.
    pub fn set_ambient(&self, change: Ambient) -> Result<Credentials, Refused> {
        let mut new = self.clone();
        let sets = &mut new.capabilities;
        match change {
            Ambient::Clear => sets.ambient = 0,
            Ambient::Raise(capability) | Ambient::Lower(capability) if capability > LAST => return Err(Refused::Invalid),
            Ambient::Lower(capability) => sets.ambient &= !(1 << capability),
            Ambient::Raise(capability) => {
                let bit = 1 << capability;
                if sets.permitted & sets.inheritable & bit == 0 || self.secure & NO_AMBIENT_RAISE != 0 {
                    return Err(Refused::NotPermitted);
                }
                sets.ambient |= bit;
            }
        }
        Ok(new)
    }

    /// Who the process is when it has become a program.
    pub fn after_exec(&self, program: &Program) -> Credentials {
        let mut new = self.clone();
        new.user.effective = program.uid.unwrap_or(self.user.effective);
        new.group.effective = program.gid.unwrap_or(self.group.effective);
        let is_other = new.user.effective != self.user.real || new.group.effective != self.group.real;
        let sets = &mut new.capabilities;
        if program.capabilities.is_some() || is_other {
            sets.ambient = 0;
        }
        let (mut permitted, mut effective) = (0, false);
        if let Some(of_file) = program.capabilities {
            permitted = (sets.bounding & of_file.permitted) | (sets.inheritable & of_file.inheritable);
            effective = of_file.effective;
        }
        // A set-user-id program of root that has capabilities of its own gets only those.
        let only_its_own = program.capabilities.is_some() && self.user.real != 0 && new.user.effective == 0;
        if self.secure & NO_ROOT == 0 && !only_its_own {
            if new.user.effective == 0 || new.user.real == 0 {
                permitted = sets.bounding | sets.inheritable;
            }
            if new.user.effective == 0 {
                effective = true;
            }
        }
        sets.permitted = permitted | sets.ambient;
        sets.effective = if effective { sets.permitted } else { sets.ambient };
        new.secure &= !KEEP_CAPABILITIES;
        for ids in [&mut new.user, &mut new.group] {
            ids.saved = ids.effective;
            ids.filesystem = ids.effective;
        }
        new
    }
}

/// A change of the ambient set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambient {
    Raise(u64),
    Lower(u64),
    Clear,
}

fn sorted(groups: &[u32]) -> Vec<u32> {
    let mut groups = groups.to_vec();
    groups.sort_unstable();
    groups
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
