//! What the server's handles, its requests and its watches have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::chaos::Chaos;
use crate::clock::ServerClock;
use crate::fault::{Fault, FaultPlan};
use crate::log::RequestLog;
use crate::registry::Registry;
use crate::request::ApiRequest;

/// What one lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) registry: Registry,
    pub(crate) log: RequestLog,
    pub(crate) faults: FaultPlan,
    pub(crate) chaos: Option<Chaos>,
    pub(crate) latency: Duration,
    pub(crate) watch_backlog: usize,
}

impl State {
    /// The fault that meets a request; injected ones come before random ones.
    pub(crate) fn fault(&mut self, request: &ApiRequest) -> Option<Fault> {
        let random = |chaos: &mut Chaos| chaos.draw(request.verb);
        self.faults
            .pick(request)
            .or_else(|| self.chaos.as_mut().and_then(random))
    }
}

/// What open watches and waiting readers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) revision: u64,
    /// How often all watches have been cut.
    pub(crate) cuts: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    signal: watch::Sender<Signal>,
    /// Wakes those who wait for the signal in the order in which they came: a simulation must run
    /// the same way each time.
    pub(crate) changed: Notify,
    pub(crate) clock: ServerClock,
}

/// How many events may wait for a watch before the server gives up on it.
const WATCH_BACKLOG: usize = 1_000;

impl Shared {
    pub(crate) fn new(seed: u64) -> Shared {
        let registry = Registry::new(seed);
        let signal = Signal {
            revision: registry.store.revision(),
            cuts: 0,
        };
        let state = State {
            registry,
            log: RequestLog::default(),
            faults: FaultPlan::default(),
            chaos: None,
            latency: Duration::ZERO,
            watch_backlog: WATCH_BACKLOG,
        };
        Shared {
            state: Mutex::new(state),
            signal: watch::Sender::new(signal),
            changed: Notify::new(),
            clock: ServerClock::start(),
        }
    }

    /// A panic of a test while it held the lock must not hide behind another one.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the state, then wakes the watches when there is something new.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let (result, revision) = {
            let mut state = self.lock();
            let result = work(&mut state);
            (result, state.registry.store.revision())
        };
        self.signal.send_if_modified(|signal| {
            let newer = revision > signal.revision;
            signal.revision = signal.revision.max(revision);
            newer
        });
        self.changed.notify_waiters();
        result
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    pub(crate) fn cut_watches(&self) {
        self.signal.send_modify(|signal| signal.cuts += 1);
        self.changed.notify_waiters();
    }
}
