//! The program that owns a user namespace for lapstrake: requests on standard input, which is a socket, in; processes out.
//!
//! It has one thread and no dependencies, and is started with an empty environment. The first process only makes the namespace and starts
//! others in it: file agents (`agent`) and steps (`step`). It ends when the socket does, after all that it started.

#[macro_use]
mod wire;
mod agent;
mod beyond;
mod calls;
mod channel;
mod chroot;
mod command;
mod confine;
mod end;
mod filter;
mod in_place;
mod mounts;
mod name;
mod place;
mod profile;
mod root;
mod step;
mod supervisor;
mod sys;
mod wanted;

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use sys::{At, Child, Errno, Result};
use wire::{Bytes, Ids, OwnerReply, OwnerRequest, Ownership};

fn main() {
    // Whatever the caller forgot to close.
    let closed = sys::close_from(3);
    let control = sys::adopt(0);
    sys::set_name(c"lapstrake");
    let started = closed.map_err(|errno| ("close descriptors", errno)).and_then(|()| own(&control));
    match started {
        Ok((ownership, steps)) => serve(control, &ownership, steps),
        Err((what, errno)) => {
            let _ = channel::send(&control, &OwnerReply::Failed { what: Bytes(what.as_bytes().to_vec()), errno: errno.0 }, &[]);
            sys::exit(1);
        }
    }
    sys::exit(0);
}

/// How steps end with the caller.
#[derive(Clone, Copy)]
enum Steps {
    /// Whoever keeps one is killed, whatever it does, and the kernel ends what is in its pid namespace.
    Killed,
    /// Whoever keeps one ends its processes one by one when it hears that the caller is gone.
    EndThemselves,
}

/// Makes the namespace, where one is wanted, and becomes its root.
fn own(control: &OwnedFd) -> std::result::Result<(Ownership, Steps), (&'static str, Errno)> {
    // A signal from the caller's terminal must not end it before the caller has decided.
    sys::setsid().map_err(|errno| ("start a session", errno))?;
    sys::change_directory(b"/").map_err(|errno| ("enter `/`", errno))?;
    sys::umask(0);
    let hear = || match channel::receive::<OwnerRequest>(control) {
        Ok(Some((request, _))) => Ok(request),
        Ok(None) => sys::exit(0),
        Err(errno) => Err(("hear the caller", errno)),
    };
    let not_understood = ("understand the caller", sys::EPROTO);
    let OwnerRequest::Begin { ids } = hear()? else { return Err(not_understood) };
    let begun = match ids {
        Ids::Namespace {} => {
            sys::unshare(sys::CLONE_NEWUSER).map_err(|errno| ("make a user namespace", errno))?;
            channel::send(control, &OwnerReply::Unmapped {}, &[]).map_err(|errno| ("answer", errno))?;
            let OwnerRequest::Mapped { ownership } = hear()? else { return Err(not_understood) };
            sys::setresgid(0).map_err(|errno| ("become group 0 of the user namespace", errno))?;
            sys::setresuid(0).map_err(|errno| ("become user 0 of the user namespace", errno))?;
            // Process 1 of a step outlives whoever keeps it, for a moment.
            sys::adopt_orphans().map_err(|errno| ("adopt what its steps leave behind", errno))?;
            (ownership, Steps::Killed)
        }
        Ids::Callers {} => (Ownership::Inodes {}, Steps::EndThemselves),
    };
    sys::hide_memory().map_err(|errno| ("protect its memory", errno))?;
    // Whatever the caller does with its own.
    sys::keep_children();
    channel::send(control, &OwnerReply::Ready {}, &[]).map_err(|errno| ("answer", errno))?;
    Ok(begun)
}

/// Starts processes as asked until the caller is gone, and ends them.
fn serve(control: OwnedFd, ownership: &Ownership, steps: Steps) {
    let owner = sys::getpid();
    let mut killed = Vec::new();
    while let Ok(Some((request, mut descriptors))) = channel::receive::<OwnerRequest>(&control) {
        let Some(socket) = descriptors.pop() else { break };
        while let Ok(Child::Ended(ended, _)) = sys::look_for_ended() {
            killed.retain(|child| *child != ended);
        }
        match (sys::fork_process(), request) {
            (Ok(Some(child)), OwnerRequest::Agent {}) => killed.push(child),
            (Ok(Some(child)), OwnerRequest::Step {}) => match steps {
                Steps::Killed => killed.push(child),
                Steps::EndThemselves => {}
            },
            (Ok(Some(_)), OwnerRequest::Begin { .. } | OwnerRequest::Mapped { .. }) => {}
            // The caller sees its socket end.
            (Err(_), _) => {}
            (Ok(None), request) => {
                drop(control);
                if be_child_of(owner).is_err() {
                    sys::exit(1);
                }
                match request {
                    OwnerRequest::Agent {} => agent::serve(&socket, ownership),
                    OwnerRequest::Step {} => step::run(socket),
                    OwnerRequest::Begin { .. } | OwnerRequest::Mapped { .. } => {}
                }
                sys::exit(0);
            }
        }
    }
    // Nobody is to wait for an answer.
    drop(control);
    // Who has seen this process end has seen the end of all: none is in a control group any more.
    killed.into_iter().for_each(sys::kill);
    while sys::wait(-1).is_ok() {}
}

/// Dies with the owner and has nothing of its standard input.
fn be_child_of(owner: i32) -> Result<()> {
    sys::die_with_parent()?;
    if sys::getppid() != owner {
        return Err(sys::ECONNRESET);
    }
    // The lowest numbers stay taken, so that no descriptor of importance gets one of them.
    let nothing = sys::open(At::Root, b"/dev/null", sys::O_RDWR, 0, sys::ANYWHERE)?;
    if nothing.as_raw_fd() == 0 {
        let _ = nothing.into_raw_fd();
    } else {
        sys::put_at(&nothing, 0, true)?;
    }
    Ok(())
}
