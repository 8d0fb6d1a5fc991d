//! Where control groups are: `/proc/self/mountinfo` and `/proc/self/cgroup` in, the directory of the caller's own group out.

use std::fs;
use std::path::{Path, PathBuf};

use super::Resource;

/// The two kinds of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A hierarchy for each controller; a group may hold processes and other groups.
    One,
    /// One hierarchy; a group whose controllers are divided holds no processes, cgroups(7) "no internal processes".
    Two,
}

impl Version {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Version::One => "control groups, version 1",
            Version::Two => "control groups, version 2",
        }
    }
}

/// The caller's own group in the hierarchy that has a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    /// Its directory.
    pub(super) own: PathBuf,
    /// The directory that the hierarchy, or what is shown of it, is mounted at.
    pub(super) top: PathBuf,
}

/// What the kernel says of the caller's groups.
pub(super) struct Surroundings {
    mounts: String,
    own: String,
}

impl Surroundings {
    pub(super) fn read() -> Surroundings {
        let read = |path: &str| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Surroundings { mounts: read("/proc/self/mountinfo"), own: read("/proc/self/cgroup") }
    }

    /// Where a limit can be set; else why it cannot. A controller is in one hierarchy at a time.
    pub(super) fn place(&self, resource: Resource) -> Result<Place, &'static str> {
        let named = |list: &str| list.split(',').any(|name| name == resource.name());
        let first = self.own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            named(controllers).then_some(path)
        });
        if let Some(path) = first {
            let found = self.mounted(path, Version::One, |kind, options| kind == "cgroup" && named(options));
            return found.ok_or("the kernel's control groups for it are not mounted");
        }
        let path = self.own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("the kernel has no control groups for it")?;
        self.mounted(path, Version::Two, |kind, _| kind == "cgroup2").ok_or("the kernel's control groups are not mounted")
    }

    /// The directory of a group by its path in a hierarchy: proc(5), `mountinfo`.
    fn mounted(&self, path: &str, version: Version, is_it: impl Fn(&str, &str) -> bool) -> Option<Place> {
        self.mounts.lines().find_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mut words = file_system.split(' ');
            let (kind, options) = (words.next()?, words.nth(1)?);
            if !is_it(kind, options) {
                return None;
            }
            let mut words = mount.split(' ').skip(3);
            let (root, top) = (words.next()?, PathBuf::from(words.next()?));
            let below = Path::new(path).strip_prefix(root).ok()?;
            Some(Place { version, own: top.join(below), top })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: Version, own: &str, top: &str) -> Result<Place, &'static str> {
        Ok(Place { version, own: own.into(), top: top.into() })
    }

    #[test]
    fn groups_are_found_in_the_hierarchies_that_are_mounted() {
        let mounts = "30 20 0:26 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory\n\
                      31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "9:cpu,cpuacct:/a\n4:memory:/b/c\n0::/d\n";
        let here = Surroundings { mounts: mounts.to_owned(), own: own.to_owned() };
        assert_eq!(here.place(Resource::Memory), at(Version::One, "/sys/fs/cgroup/memory/b/c", "/sys/fs/cgroup/memory"));
        assert_eq!(here.place(Resource::Cpu), at(Version::One, "/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(here.place(Resource::Pids), at(Version::Two, "/sys/fs/cgroup/unified/d", "/sys/fs/cgroup/unified"));
    }

    #[test]
    fn in_a_container_a_part_of_the_hierarchy_is_mounted() {
        let mounts = "30 20 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let here = |own: &str| Surroundings { mounts: mounts.to_owned(), own: own.to_owned() }.place(Resource::Memory);
        assert_eq!(here("0::/docker/x/y\n"), at(Version::Two, "/sys/fs/cgroup/y", "/sys/fs/cgroup"));
        assert!(here("0::/elsewhere\n").is_err(), "what is not shown cannot be used");
        assert!(here("5:memory:/docker/x\n0::/docker/x\n").is_err(), "the hierarchy that has the controller is not mounted");
        assert!(here("").is_err());
    }
}
