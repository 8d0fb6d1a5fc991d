//! A root without mounts: a directory and what belongs into it in, the directory with everything in its place out; and all of it taken
//! back when the step has ended.
//!
//! What other roots have by mounts is put under its name here; what had the name gives way into a directory beside the root. A step can
//! do to these places what mounts would keep it from; where it has, it is refused afterwards, so that its result is never another than
//! elsewhere.

use std::os::fd::{AsFd, OwnedFd};

use crate::agent;
use crate::place::{self, Want};
use crate::step::{Failure, Made, Trying};
use crate::sys::{self, At, BENEATH, EBUSY, EINVAL, EXDEV, Result as Sys, Stat};
use crate::wire::{Bytes, Job, MountAt, MountWhat, Stage};

const ROOT: Stage = Stage::Root {};
const DIRECTORY: u64 = sys::O_PATH | sys::O_DIRECTORY;

/// Major and minor numbers, the same on every Linux: admin-guide/devices.rst.
const DEVICES: [(&[u8], u32, u32); 6] =
    [(b"null", 1, 3), (b"zero", 1, 5), (b"full", 1, 7), (b"random", 1, 8), (b"urandom", 1, 9), (b"tty", 5, 0)];
const DEVICE_LINKS: [(&[u8], &[u8]); 4] =
    [(b"fd", b"/proc/self/fd"), (b"stdin", b"/proc/self/fd/0"), (b"stdout", b"/proc/self/fd/1"), (b"stderr", b"/proc/self/fd/2")];

const MOVED: &str = "the step has moved, removed or replaced it";

/// A root with everything in its place.
pub struct InPlace {
    pub root: OwnedFd,
    aside: OwnedFd,
    placed: Vec<Placed>,
    count: u32,
}

/// One thing that was put somewhere.
struct Placed {
    /// Where, as the step means it.
    at: Vec<u8>,
    /// The directory it was put into, and its name there.
    parent: OwnedFd,
    name: Vec<u8>,
    /// It, for finding out whether it still is what has the name.
    thing: OwnedFd,
    identity: (u64, u64),
    /// Where it came from and goes back to; `None` for what was made for the step.
    home: Option<(OwnedFd, Vec<u8>)>,
    /// The name beside the root of what gave way.
    gave_way: Vec<u8>,
    made: Vec<Made>,
}

/// What is put somewhere.
enum What<'a> {
    /// Something of ours, by its name beside the root.
    Own(&'a [u8]),
    /// Something of the host, by its path.
    Borrowed(&'a [u8]),
}

/// Puts everything in its place. On a failure all of it is taken back.
pub fn make(job: &Job, root: &[u8], aside: &[u8]) -> Result<InPlace, Failure> {
    let open = |path: &[u8]| {
        sys::open(At::Root, path, DIRECTORY, 0, sys::ANYWHERE).trying(&ROOT, || format!("open `{}`", String::from_utf8_lossy(path)))
    };
    let mut in_place = InPlace { root: open(root)?, aside: open(aside)?, placed: Vec::new(), count: 0 };
    match in_place.fill(job) {
        Ok(()) => Ok(in_place),
        Err(failure) => {
            let _ = in_place.take_back();
            Err(failure)
        }
    }
}

impl InPlace {
    fn fill(&mut self, job: &Job) -> Result<(), Failure> {
        for (path, mode) in [(b"/proc".as_slice(), 0o555), (b"/sys", 0o555)] {
            self.directory(path, mode).trying(&ROOT, || format!("make {}", String::from_utf8_lossy(path)))?;
        }
        self.devices().trying(&ROOT, || "make /dev, for which device nodes must be allowed".to_owned())?;
        let texts = [(b"/etc/hosts".as_slice(), Some(&job.hosts)), (b"/etc/resolv.conf", job.resolv.as_ref())];
        for (path, text) in texts {
            if let Some(text) = text {
                self.file(path, &text.0, (0, 0), 0o644).trying(&ROOT, || format!("make {}", String::from_utf8_lossy(path)))?;
            }
        }
        for (index, mount) in job.mounts.iter().enumerate() {
            let stage = Stage::Mount { index: u32::try_from(index).unwrap_or(u32::MAX) };
            self.mount(mount).trying(&stage, || "put it there".to_owned())?;
        }
        Ok(())
    }

    fn mount(&mut self, mount: &MountAt) -> Sys<()> {
        match &mount.kind {
            // Without mounts there are no merged directories, which come as one, and nothing can be in two places.
            MountWhat::Layers { .. } | MountWhat::Shared { .. } => Err(EINVAL),
            MountWhat::Directory { path, read_only: _ } => self.put(&mount.at.0, What::Borrowed(&path.0)),
            MountWhat::File { bytes, uid, gid, mode } => self.file(&mount.at.0, &bytes.0, (*uid, *gid), *mode),
            MountWhat::Tmpfs { size_bytes: _ } => self.directory(&mount.at.0, 0o1777),
        }
    }

    /// A name beside the root that nothing has.
    fn fresh(&mut self) -> Vec<u8> {
        self.count += 1;
        self.count.to_string().into_bytes()
    }

    fn directory(&mut self, at: &[u8], mode: u16) -> Sys<()> {
        let name = self.fresh();
        sys::make_directory(self.aside.as_fd(), &name, 0o700)?;
        sys::change_mode(sys::open(At::Fd(self.aside.as_fd()), &name, DIRECTORY, 0, BENEATH)?.as_fd(), mode)?;
        self.put(at, What::Own(&name))
    }

    fn file(&mut self, at: &[u8], bytes: &[u8], (uid, gid): (u32, u32), mode: u16) -> Sys<()> {
        let name = self.fresh();
        let flags = sys::O_RDWR | sys::O_CREAT | sys::O_EXCL;
        let file = sys::open(At::Fd(self.aside.as_fd()), &name, flags, 0o600, BENEATH)?;
        let fill = || {
            sys::write_all(&file, bytes)?;
            sys::change_owner(file.as_fd(), uid, gid)?;
            sys::change_mode(file.as_fd(), mode)
        };
        let put = fill().and_then(|()| self.put(at, What::Own(&name)));
        if put.is_err() {
            let _ = sys::unlink(self.aside.as_fd(), &name);
        }
        put
    }

    fn devices(&mut self) -> Sys<()> {
        let name = self.fresh();
        sys::make_directory(self.aside.as_fd(), &name, 0o700)?;
        let dev = sys::open(At::Fd(self.aside.as_fd()), &name, DIRECTORY, 0, BENEATH)?;
        let own = |name: &[u8], mode: u16| {
            sys::change_mode(sys::open(At::Fd(dev.as_fd()), name, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?.as_fd(), mode)
        };
        for (name, major, minor) in DEVICES {
            sys::make_node(dev.as_fd(), name, sys::S_IFCHR, 0o600, major, minor)?;
            own(name, 0o666)?;
        }
        for (name, target) in DEVICE_LINKS {
            sys::make_symlink(dev.as_fd(), name, target)?;
        }
        sys::make_directory(dev.as_fd(), b"shm", 0o700)?;
        own(b"shm", 0o1777)?;
        sys::change_mode(dev.as_fd(), 0o755)?;
        self.put(b"/dev", What::Own(&name))
    }

    /// Puts something where the step means `at` to be.
    fn put(&mut self, at: &[u8], what: What<'_>) -> Sys<()> {
        let (from, old_name, home) = match what {
            What::Own(name) => (sys::above(&self.aside, 3)?, name.to_vec(), None),
            What::Borrowed(path) => {
                let (parent, name) = split(path).ok_or(EINVAL)?;
                let parent = sys::open(At::Root, if parent.is_empty() { b"/" } else { parent }, DIRECTORY, 0, sys::ANYWHERE)?;
                let again = sys::above(&parent, 3)?;
                (parent, name.to_vec(), Some((again, name.to_vec())))
            }
        };
        let thing = sys::open(At::Fd(from.as_fd()), &old_name, sys::O_PATH | sys::O_NOFOLLOW, 0, BENEATH)?;
        let stat = sys::stat(thing.as_fd(), b"")?;
        let mut made = Vec::new();
        let (parent, name) = place::name_or_make(self.root.as_fd(), at, Want::of(&stat), &mut made)?;
        let gave_way = self.fresh();
        let keeps_times = sys::stat(parent.as_fd(), b"")?.modify_time;
        let moved = sys::rename(parent.as_fd(), &name, self.aside.as_fd(), &gave_way, sys::Replace::No).and_then(|()| {
            let placed = sys::rename(from.as_fd(), &old_name, parent.as_fd(), &name, sys::Replace::No);
            if placed.is_err() {
                let _ = sys::rename(self.aside.as_fd(), &gave_way, parent.as_fd(), &name, sys::Replace::No);
            }
            placed
        });
        if let Err(error) = moved {
            remove_made(&self.root, &made);
            return Err(error);
        }
        let _ = sys::change_time(parent.as_fd(), keeps_times.seconds, keeps_times.nanoseconds);
        self.placed.push(Placed { at: at.to_vec(), parent, name, identity: identity(&stat), thing, home, gave_way, made });
        Ok(())
    }

    /// Takes everything back, the last first. Fails, after all is done, where the step did what a mount would have refused.
    pub fn take_back(mut self) -> Result<Vec<Made>, Failure> {
        let mut outcome = Ok(());
        let mut made = Vec::new();
        while let Some(placed) = self.placed.pop() {
            if let Err((errno, what)) = self.take_one_back(&placed)
                && outcome.is_ok()
            {
                outcome = Err(errno).trying(&Stage::Left { at: Bytes(placed.at.clone()) }, || what.to_owned());
            }
            remove_made(&self.root, &placed.made);
            made.splice(0..0, placed.made);
        }
        outcome.map(|()| made)
    }

    fn take_one_back(&mut self, placed: &Placed) -> Result<(), (sys::Errno, &'static str)> {
        let at = placed.parent.as_fd();
        let mut outcome = Ok(());
        let there = sys::stat(at, &placed.name).ok();
        let is_there = there.is_some_and(|there| identity(&there) == placed.identity);
        let rubbish = self.fresh();
        match &placed.home {
            Some((home, name)) if is_there => {
                // Whoever waits for it may have made an empty one there, which gives way; nothing else would.
                if sys::rename(at, &placed.name, home.as_fd(), name, sys::Replace::Yes).is_err() {
                    outcome = Err((EBUSY, "it cannot be given back"));
                }
            }
            Some((home, name)) => {
                outcome = Err((EBUSY, MOVED));
                // A cache is made anew when it is needed; whoever keeps it expects its directory.
                let _ = sys::make_directory(home.as_fd(), name, 0o700);
            }
            None => {
                if is_there {
                    let _ = sys::rename(at, &placed.name, self.aside.as_fd(), &rubbish, sys::Replace::No);
                    let _ = agent::remove(self.aside.as_fd(), &rubbish);
                } else {
                    outcome = Err((EBUSY, MOVED));
                }
                outcome = outcome.and(forget(&placed.thing));
            }
        }
        if !is_there && there.is_some() {
            let _ = agent::remove(at, &placed.name);
        }
        let back = sys::rename(self.aside.as_fd(), &placed.gave_way, at, &placed.name, sys::Replace::No);
        back.map_err(|errno| (errno, "what was there before cannot be put back")).and(outcome)
    }
}

/// Makes sure that nothing of a file of ours, which may be a secret, is left under another name.
fn forget(thing: &OwnedFd) -> Result<(), (sys::Errno, &'static str)> {
    let left = sys::stat(thing.as_fd(), b"").is_ok_and(|stat| stat.kind() == sys::S_IFREG && stat.links > 0);
    if !left {
        return Ok(());
    }
    if let Ok(file) = sys::open(At::Root, &sys::fd_path(thing), sys::O_RDWR, 0, sys::ANYWHERE) {
        let _ = sys::truncate(&file);
    }
    Err((EXDEV, "the step has given it another name"))
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.device(), stat.inode)
}

/// Takes away what was made for a place and is as it was made.
fn remove_made(root: &OwnedFd, made: &[Made]) {
    for made in made.iter().rev() {
        let _ = crate::step::remove_untouched(root, made);
    }
}

/// The directory and the name of an absolute path.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let name = path.get(slash + 1..).filter(|name| !name.is_empty())?;
    Some((path.get(..slash)?, name))
}
