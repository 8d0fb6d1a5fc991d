//! The mounts of a job: what and where in, the root with them out.

use std::os::fd::{AsFd, OwnedFd};

use crate::place::{self, Want};
use crate::root::{self, Building};
use crate::step::{Failure, Trying};
use crate::sys::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, At, Below, Result as Sys};
use crate::wire::{MountAt, MountWhat, Stage};

const HARMLESS: u64 = ATTR_NOSUID | ATTR_NODEV;

/// Mounts one thing into the root.
pub fn mount(building: &mut Building, mount: &MountAt, stage: &Stage) -> Result<(), Failure> {
    let (what, want, attributes) = match &mount.kind {
        MountWhat::Layers { lowers, root, subpath, discarded } => {
            let other = if *discarded { building.discarded_overlay(lowers, root) } else { building.read_only_overlay(lowers, root) };
            let other = other.trying(stage, || format!("mount an overlay of {} directories", lowers.len()))?;
            let (part, want) =
                part(&other, &subpath.0).trying(stage, || format!("find `{}` in what is mounted", String::from_utf8_lossy(&subpath.0)))?;
            (part, want, HARMLESS | if *discarded { 0 } else { ATTR_RDONLY })
        }
        MountWhat::Directory { path, read_only } | MountWhat::Shared { path, read_only } => {
            let there =
                sys::copy_mount(At::Root, &path.0, Below::Without).trying(stage, || format!("open the directory `{}`", String::from_utf8_lossy(&path.0)))?;
            let want = Want::of(&sys::stat(there.as_fd(), b"").trying(stage, || "look at what is mounted".to_owned())?);
            (there, want, HARMLESS | if *read_only { ATTR_RDONLY } else { 0 })
        }
        MountWhat::File { bytes, uid, gid, mode } => {
            let file = building.memory_file(&bytes.0, *uid, *gid, *mode).trying(stage, || "write a file in memory".to_owned())?;
            (file, Want::File, HARMLESS | ATTR_NOEXEC | ATTR_RDONLY)
        }
        MountWhat::Tmpfs { size_bytes } => {
            let size = size_bytes.map(|size| size.to_string());
            let mut options = vec![(c"mode", b"1777".as_slice())];
            options.extend(size.as_ref().map(|size| (c"size", size.as_bytes())));
            let tmpfs = root::tmpfs(&options, HARMLESS).trying(stage, || "mount a tmpfs".to_owned())?;
            (tmpfs, Want::Directory, HARMLESS)
        }
    };
    let put = |building: &mut Building| -> Sys<()> {
        let place = building.place(&mount.at.0, want)?;
        sys::attach(&what, place.as_fd())?;
        sys::restrict(&what, attributes, Below::Without)
    };
    put(building).trying(stage, || {
        match want {
            Want::Directory => "put a directory there",
            Want::File => "put a file there",
        }
        .to_owned()
    })
}

/// A mount of a part of another root; links in the path stay inside that root.
fn part(other: &OwnedFd, subpath: &[u8]) -> Sys<(OwnedFd, Want)> {
    let part = place::find(other.as_fd(), subpath)?;
    let want = Want::of(&sys::stat(part.as_fd(), b"")?);
    Ok((sys::copy_mount(At::Fd(part.as_fd()), b"", Below::Without)?, want))
}
