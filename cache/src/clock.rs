//! The wall clock and the boot: the one file of this crate that looks at either. Out come moments for ages and use, never for a digest.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, futimens};

/// Nanoseconds since 1970 in UTC; earlier moments count as its first instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "ages and last uses are told by the clock, and only here")]
    pub(crate) fn now() -> Moment {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) const fn from_nanoseconds(nanoseconds: u64) -> Moment {
        Moment(nanoseconds)
    }

    pub(crate) const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// When the file was last modified, which is where the store keeps the last use.
    pub(crate) fn modified(metadata: &Metadata) -> Moment {
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        let nanoseconds = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Moment(seconds.saturating_mul(NANOSECONDS_PER_SECOND).saturating_add(nanoseconds))
    }

    pub(crate) fn set_modified(self, file: &File) -> io::Result<()> {
        let seconds = i64::try_from(self.0 / NANOSECONDS_PER_SECOND).unwrap_or(i64::MAX);
        // The remainder is below 10^9 and fits every type of nanoseconds.
        let nanoseconds = i64::try_from(self.0 % NANOSECONDS_PER_SECOND).unwrap_or(0);
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ },
        };
        Ok(futimens(file, &times)?)
    }

    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// One uptime of one kernel: memory that was not yet written to disk is lost exactly when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot(String);

impl Boot {
    /// The running kernel's boot, or `None` where the kernel does not tell.
    pub(crate) fn current() -> Option<Boot> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let id = text.trim_end();
        (!id.is_empty() && id.len() <= 64).then(|| Boot(id.to_owned()))
    }

    pub(crate) fn from_text(id: String) -> Boot {
        Boot(id)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
