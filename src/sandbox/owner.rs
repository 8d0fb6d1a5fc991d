//! Starting the helper and giving its user namespace ids: the host's user database in, a process that serves out.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};

use super::connection::Connection;
use super::mapping::{self, Caller};
use super::wire::{Ids, OwnerReply, OwnerRequest};
use super::{IdMapping, Options, Rung, Start, Unusable};

/// The program that all processes of the sandbox are.
const HELPER: &[u8] = include_bytes!(env!("LAPSTRAKE_HELPER"));

/// How often a program is started that a thread was writing while another made a process, which has it open until it is a program itself.
const BUSY_STARTS: u32 = 250;
const BETWEEN_STARTS: Duration = Duration::from_millis(2);

/// The process that owns the user namespace. It ends when this is dropped, and with it all that it started.
#[derive(Debug)]
pub(super) struct Owner {
    /// `None` only while this is dropped.
    connection: Mutex<Option<Connection>>,
    child: Mutex<Child>,
}

impl Owner {
    /// Starts the helper and makes the namespace, where the rung has one.
    pub(super) fn start(rung: Rung, options: &Options) -> Result<(Owner, IdMapping), Unusable> {
        let caller = Caller::current();
        let plan = match rung {
            Rung::UserNamespace => mapping::plan(&caller, options)?,
            Rung::SingleId => mapping::plan_single(&caller),
            Rung::Chroot if caller.uid == 0 => return Ok((Owner::start_as_caller(options)?, IdMapping::Identity)),
            Rung::Chroot => {
                return Err(Unusable {
                    reason: "only root can change the root of a process".to_owned(),
                    remedy: "run the builder as root in its container".to_owned(),
                    source: None,
                });
            }
        };
        let (owner, pid) = Owner::begin(options)?;
        let lost = |error| cannot_start(error, "talk to it");
        match owner.exchange(&OwnerRequest::Begin { ids: Ids::Namespace {} }).map_err(lost)? {
            OwnerReply::Unmapped {} => {}
            OwnerReply::Ready {} => return Err(lost(io::ErrorKind::InvalidData.into())),
            OwnerReply::Failed { what, errno } => return Err(no_namespace(&what.0, errno)),
        }
        plan.write(pid)?;
        match owner.exchange(&OwnerRequest::Mapped { ownership: rung.ownership() }).map_err(lost)? {
            OwnerReply::Ready {} => Ok((owner, plan.mapping)),
            OwnerReply::Unmapped {} => Err(lost(io::ErrorKind::InvalidData.into())),
            OwnerReply::Failed { what, errno } => Err(no_namespace(&what.0, errno)),
        }
    }

    /// Starts the helper without a namespace, for root.
    fn start_as_caller(options: &Options) -> Result<Owner, Unusable> {
        let owner = Owner::begin(options)?.0;
        let lost = |error| cannot_start(error, "talk to it");
        match owner.exchange(&OwnerRequest::Begin { ids: Ids::Callers {} }).map_err(lost)? {
            OwnerReply::Ready {} => Ok(owner),
            OwnerReply::Unmapped {} => Err(lost(io::ErrorKind::InvalidData.into())),
            OwnerReply::Failed { what, errno } => Err(cannot_start(io::Error::from_raw_os_error(errno), &String::from_utf8_lossy(&what.0))),
        }
    }

    fn begin(options: &Options) -> Result<(Owner, u32), Unusable> {
        let (connection, theirs) = Connection::pair().map_err(|error| cannot_start(error, "make a socket"))?;
        let child = spawn(theirs, &options.start)?;
        let pid = child.id();
        // From here on dropping it ends the process.
        Ok((Owner { connection: Mutex::new(Some(connection)), child: Mutex::new(child) }, pid))
    }

    fn exchange(&self, request: &OwnerRequest) -> io::Result<OwnerReply> {
        let guard = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = guard.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        connection.send(request, &[])?;
        Ok(connection.receive()?.0)
    }

    /// Starts a process in the namespace: a connection to it.
    pub(super) fn process(&self, request: &OwnerRequest) -> io::Result<Connection> {
        use std::os::fd::AsFd as _;
        let (ours, theirs) = Connection::pair()?;
        let guard = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().ok_or(io::ErrorKind::NotConnected)?.send(request, &[theirs.as_fd()])?;
        Ok(ours)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // The end of the socket ends the process.
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

fn cannot_start(source: io::Error, what: &str) -> Unusable {
    Unusable {
        reason: format!("cannot start the sandbox's helper process: cannot {what}"),
        remedy: "see the system's limits on processes and open files".to_owned(),
        source: Some(source),
    }
}

/// Starts the helper with an empty environment and nothing but its socket.
fn spawn(socket: OwnedFd, from: &Start) -> Result<Child, Unusable> {
    let in_memory = |socket: OwnedFd| {
        memory_file().and_then(|file| start(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), socket)).map_err(|source| {
            Unusable {
                reason: "the system does not let a program be started from memory".to_owned(),
                remedy: "allow it (sysctl vm.memfd_noexec=0), or give a directory where programs may be started".to_owned(),
                source: Some(source),
            }
        })
    };
    let in_directory = |directory: &Path, socket: OwnedFd| {
        on_disk(directory).and_then(|path| start(&path, socket)).map_err(|source| Unusable {
            reason: format!("the sandbox's helper process cannot be started from `{}`", directory.display()),
            remedy: "use a directory that can be written, on a file system that is not mounted with noexec".to_owned(),
            source: Some(source),
        })
    };
    match from {
        Start::FromMemory => in_memory(socket),
        Start::FromDirectory { path } => in_directory(path, socket),
        Start::FromMemoryOr { path } => {
            let second = socket.try_clone().map_err(|error| cannot_start(error, "copy a socket"))?;
            in_memory(socket).or_else(|_| in_directory(path, second))
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the helper is the sandbox's one process, and nothing tells when a file is not busy any more"
)]
fn start(program: &Path, socket: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg0("lapstrake").env_clear().current_dir("/");
    command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
    for _ in 0..BUSY_STARTS {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(BETWEEN_STARTS),
            other => return other,
        }
    }
    command.spawn()
}

/// The helper as a file in memory that nobody can change any more.
fn memory_file() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 know no such flag; it is what they do.
    let made = rustix::fs::memfd_create("lapstrake", flags | MemfdFlags::EXEC).or_else(|_| rustix::fs::memfd_create("lapstrake", flags))?;
    // The first three numbers are replaced in the process that starts it.
    let file = rustix::io::fcntl_dupfd_cloexec(&made, 3)?;
    let mut file = std::fs::File::from(file);
    file.write_all(HELPER)?;
    file.rewind()?;
    let file = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}

/// The helper as a file whose name is its contents' own.
fn on_disk(directory: &Path) -> io::Result<PathBuf> {
    // Keeps versions apart; what counts is the comparison below.
    let mut hasher = DefaultHasher::new();
    hasher.write(HELPER);
    let name = format!("{:016x}", hasher.finish());
    let path = directory.join(format!("helper-{name}"));
    if std::fs::read(&path).is_ok_and(|there| there == HELPER) {
        return Ok(path);
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let attempt = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!("helper-{name}.{}-{attempt}", std::process::id()));
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&temporary)?;
    file.write_all(HELPER)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o500))?;
    drop(file);
    std::fs::rename(&temporary, &path)?;
    Ok(path)
}

/// Why a user namespace is refused, and what to do.
fn no_namespace(what: &[u8], errno: i32) -> Unusable {
    let setting = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let source = io::Error::from_raw_os_error(errno);
    let reason = format!("the kernel does not let the sandbox {}: {source}", String::from_utf8_lossy(what));
    let remedy = if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        "raise sysctl user.max_user_namespaces, which is 0"
    } else if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "set sysctl kernel.unprivileged_userns_clone=1"
    } else {
        "allow user namespaces: in a container, start it with a seccomp profile that lets unshare(2) through"
    };
    Unusable { reason, remedy: remedy.to_owned(), source: Some(source) }
}
