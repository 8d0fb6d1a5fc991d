//! A model of users and owners for steps whose user namespace has one id: calls that wait in, answers out.
//!
//! Every process of such a step is user 0 to the kernel, with the capabilities of a step. The calls that read or change who a process is,
//! whom a file belongs to or what may be done to it wait for the supervisor, which answers from its model: it lets the kernel do the call
//! as it is, does it in the process's place, or refuses it. Who a process is stands in a limit that the kernel keeps, hands on to children
//! and has no use for itself ([`sys::RLIMIT_LOCKS`]), as a number in the supervisor's list of credentials.
//!
//! It is no boundary between the users of a step, whose threads may change what a pointer points to meanwhile. Towards the host nothing
//! depends on it: the supervisor reaches only what the step's own user 0 reaches, since it is in the same mounts with the same root.

mod ask;
mod becoming;
mod changing;
mod credentials;
mod looking;
mod making;
pub mod owners;
mod process;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

pub use credentials::{Credentials, Owner};
use credentials::{Refused, Root};
use owners::Owners;
use process::{Asked, Running};

use crate::filter::{Action, Instruction, Otherwise, Rule};
use crate::sys::{self, At, EAGAIN, EINVAL, EPERM, Errno, Result};
use crate::wire::{SpecialBelow, SpecialOwner};

/// What a call is answered.
pub enum Answer {
    /// The kernel does it.
    Kernel,
    /// It gives this.
    Value(i64),
    /// It gives a descriptor of this.
    Descriptor { fd: OwnedFd, close_on_exec: bool },
}

/// Why there is no answer of the model's own.
#[derive(Debug)]
pub enum Stop {
    /// The kernel does it.
    Kernel,
    /// It fails.
    Errno(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        Stop::Errno(match refused {
            Refused::NotPermitted => EPERM,
            Refused::Invalid => EINVAL,
        })
    }
}

pub type Outcome = std::result::Result<Answer, Stop>;

/// The filter by which calls come to the supervisor. `None` where no filters are made for the architecture.
pub fn program() -> Option<Vec<Instruction>> {
    let architecture = crate::calls::Architecture::HERE.first()?;
    let rules: Vec<Rule<'static>> = ask::rules();
    // Programs of the machine's 32-bit mode have other structures: they are refused all calls.
    let otherwise = Otherwise { known: Action::Allow, newer: Action::Allow, foreign: Action::Errno(crate::filter::ENOSYS) };
    crate::filter::program(&[*architecture], &rules, otherwise)
}

/// Makes this process one that a supervisor can have in its list: it has the first place in it.
pub fn become_first() -> Result<()> {
    let [_, hard] = sys::limit_of(0, sys::RLIMIT_LOCKS)?;
    sys::set_limit_of(0, sys::RLIMIT_LOCKS, [0, hard])
}

/// The supervisor of one step.
pub struct Supervisor {
    /// The step's root.
    root: OwnedFd,
    root_mount: u64,
    /// The `/proc` that it works in, which is mounted nowhere.
    _proc: OwnedFd,
    /// Which file systems are a `/proc`, by their numbers.
    procs: RefCell<BTreeMap<u64, bool>>,
    list: Vec<Rc<Credentials>>,
    places: BTreeMap<Rc<Credentials>, u64>,
    /// Supplementary groups in the list, in all.
    groups: usize,
    owners: Owners,
    /// Who a process will be once it has become the program that it is about to become, and what it was before.
    pending: BTreeMap<u32, Pending>,
    asks: Vec<(i32, ask::Ask)>,
    /// The host name, where it is not the namespace's own.
    host_name: Option<Vec<u8>>,
}

struct Pending {
    then: Rc<Credentials>,
    before: Running,
}

/// How many credentials there can be in a step, and how many supplementary groups in all of them: memory of the supervisor's is not the
/// step's to take.
const MOST_CREDENTIALS: usize = 65536;
const MOST_GROUPS_IN_ALL: usize = 1 << 22;

impl Supervisor {
    /// Goes into the mounts of a step whose root is made. `proc` is the builder's `/proc` as a mount that is nowhere. `host_name` is given
    /// where the namespace has another.
    pub fn enter(
        (mounts, proc): (&OwnedFd, OwnedFd),
        who: Credentials,
        host_name: Option<&[u8]>,
        below: &[SpecialBelow],
    ) -> Result<Supervisor> {
        sys::raise_descriptors();
        let own_descriptors = sys::open(At::Fd(proc.as_fd()), b"self/fd", sys::O_PATH | sys::O_DIRECTORY, 0, sys::OF_ANOTHER)?;
        sys::enter_mounts(mounts)?;
        let root = sys::open(At::Root, b"/", sys::O_PATH | sys::O_DIRECTORY, 0, sys::ANYWHERE)?;
        let root_mount = sys::stat(root.as_fd(), b"")?.mount();
        let mut owners = Owners::default();
        owners.seed(below)?;
        sys::change_directory_to(own_descriptors.as_fd())?;
        let who = Rc::new(who);
        let asks = ask::numbers();
        Ok(Supervisor {
            root,
            root_mount,
            _proc: proc,
            procs: RefCell::default(),
            groups: who.groups.len(),
            list: vec![Rc::clone(&who)],
            places: BTreeMap::from([(who, 0)]),
            owners,
            pending: BTreeMap::new(),
            asks,
            host_name: host_name.map(<[u8]>::to_vec),
        })
    }

    /// Answers the call that waits.
    pub fn serve(&mut self, listener: &OwnedFd) {
        let Ok(notification) = sys::next_notification(listener) else { return };
        let id = notification.id;
        let outcome = self.answer(listener, &notification);
        // What fails here is a process that is gone.
        let _ = match outcome {
            Ok(Answer::Kernel) | Err(Stop::Kernel) => sys::answer_go_on(listener, id),
            Ok(Answer::Value(value)) => sys::answer(listener, id, Ok(value)),
            Err(Stop::Errno(errno)) => sys::answer(listener, id, Err(errno)),
            Ok(Answer::Descriptor { fd, close_on_exec }) => match sys::answer_with_descriptor(listener, id, &fd, close_on_exec) {
                Ok(()) => Ok(()),
                Err(errno) => sys::answer(listener, id, Err(errno)),
            },
        };
    }

    fn answer(&mut self, listener: &OwnedFd, notification: &sys::Notification) -> Outcome {
        let place = self.asks.binary_search_by_key(&notification.number, |(number, _)| *number).map_err(|_| Stop::Kernel)?;
        let ask = self.asks[place].1;
        let who = self.who(notification.pid)?;
        let asked = Asked { listener, id: notification.id, pid: notification.pid, arguments: notification.arguments, who };
        // Who it is was looked up by a number, which may have become another process's.
        asked.still_waits()?;
        if asked.who.root == Root::OfTheStep {
            return self.decide(listener, &asked, ask);
        }
        sys::change_root(&asked.of_proc("root")).map_err(|_| Stop::Kernel)?;
        let outcome = asked.still_waits().and_then(|()| self.decide(listener, &asked, ask));
        if sys::change_root(&owners::own_path(&self.root)).is_err() {
            // It must never answer another process from here.
            sys::exit(1);
        }
        outcome
    }

    /// Who a process is.
    fn who(&mut self, pid: u32) -> std::result::Result<Rc<Credentials>, Stop> {
        if let Some(Pending { then, before }) = self.pending.remove(&pid)
            && before.became(&Running::of(pid))
        {
            self.is_now(pid, &then)?;
            return Ok(then);
        }
        self.who_is(pid).ok_or(Stop::Kernel)
    }

    /// Who any process is; `None` for those that are not of the step.
    fn who_is(&self, pid: u32) -> Option<Rc<Credentials>> {
        let [place, _] = sys::limit_of(pid, sys::RLIMIT_LOCKS).ok()?;
        self.list.get(usize::try_from(place).ok()?).map(Rc::clone)
    }

    /// Makes a process somebody else.
    fn is_now(&mut self, pid: u32, who: &Rc<Credentials>) -> Result<()> {
        let place = match self.places.get(who) {
            Some(place) => *place,
            None => {
                let place = self.list.len() as u64;
                let groups = self.groups + who.groups.len();
                if self.list.len() >= MOST_CREDENTIALS || groups > MOST_GROUPS_IN_ALL {
                    return Err(EAGAIN);
                }
                self.groups = groups;
                self.list.push(Rc::clone(who));
                self.places.insert(Rc::clone(who), place);
                place
            }
        };
        let [_, hard] = sys::limit_of(pid, sys::RLIMIT_LOCKS)?;
        sys::set_limit_of(pid, sys::RLIMIT_LOCKS, [place, hard])
    }

    /// What the step left in its upper directory that carries no owner.
    pub fn report(&self, upper: &OwnedFd) -> Vec<SpecialOwner> {
        self.owners.report(upper, self.root_mount)
    }
}
