//! The `ssh` mounts of a command: a socket of our own for each, behind which the caller's agent answers.
//!
//! The agent's own socket belongs to the caller, whom a step need not know; ours belongs to whom the mount says. What goes through it is
//! neither looked at nor kept.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use lapstrake_cache::Scratch;

use crate::build::Failure;
use crate::build::accounts::Owner;
use crate::build::layers::make_root;
use crate::build::site::Site;
use crate::tree::{Metadata, Name, NodeKind, TreePath, Xattrs};

/// The sockets of one command. They are there as long as this is.
#[derive(Default)]
pub(super) struct Agents(Vec<Forward>);

/// One socket, and the thread that takes its connections.
struct Forward {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Holds the directory.
    _scratch: Scratch,
}

impl Agents {
    /// Makes a socket that leads to an agent; gives its path.
    pub(super) fn forward(&mut self, site: &Site<'_>, agent: &Path, owner: Owner, mode: u16) -> Result<PathBuf, Failure> {
        let scratch = site.outside.store.scratch()?;
        let directory = scratch.path().join("agent");
        let wrong = |source| Failure::File { path: directory.clone(), source };
        // One that is not there is said here, and not by whatever the step runs.
        UnixStream::connect(agent).map_err(|source| Failure::File { path: agent.to_path_buf(), source })?;
        let handle = make_root(site.workplace, site.outside.store, &directory)?;
        let socket = directory.join("socket");
        let listener = bind(&directory).map_err(wrong)?;
        let name = TreePath::root().join(&socket_name());
        let metadata = Metadata { mode, uid: owner.uid, gid: owner.gid, mtime: site.epoch, xattrs: Xattrs::new() };
        if handle.set_metadata(&name, NodeKind::Special, &metadata).is_err() {
            // Where ids are mapped so that the socket cannot be given away, the directory around it keeps others out.
            std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).map_err(wrong)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (agent, stopped) = (agent.to_path_buf(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || serve(&listener, &agent, &stopped));
        self.0.push(Forward { socket: socket.clone(), stop, thread: Some(thread), _scratch: scratch });
        Ok(socket)
    }
}

fn socket_name() -> Name {
    #[expect(clippy::expect_used, reason = "a constant that is a name")]
    Name::new(b"socket").expect("`socket` is a name")
}

/// The path of a socket is at most 107 bytes long, and a store may lie deep: the directory is named by its descriptor.
fn bind(directory: &Path) -> io::Result<UnixListener> {
    let opened = std::fs::File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/socket", opened.as_raw_fd()))
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let directory = std::fs::File::open(socket.parent().unwrap_or(Path::new("/")))?;
    UnixStream::connect(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()))
}

fn serve(listener: &UnixListener, agent: &Path, stop: &AtomicBool) {
    for connection in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(step) = connection else { return };
        // Where the agent has gone, the step finds its connection closed.
        let Ok(agent) = UnixStream::connect(agent) else { continue };
        let (Ok(from_step), Ok(to_agent)) = (step.try_clone(), agent.try_clone()) else { continue };
        std::thread::spawn(move || pass(from_step, to_agent));
        std::thread::spawn(move || pass(agent, step));
    }
}

/// Passes bytes on until one end closes, and then closes the other. Either may go at any time; there is nobody to tell.
fn pass(mut from: UnixStream, mut to: UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The thread waits for a connection: this is the last.
        if connect(&self.socket).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}
