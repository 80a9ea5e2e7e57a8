use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_core::{Error, Result};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, timeout_at};

/// A request of a caller, on its way through the committer or the reader.
pub(crate) struct Waiting<Q, A> {
    pub(crate) request: Q,
    progress: Arc<Mutex<Progress>>,
    answer: oneshot::Sender<Result<A>>,
}

/// The caller's end of it.
pub(crate) struct Ticket<A> {
    progress: Arc<Mutex<Progress>>,
    answer: oneshot::Receiver<Result<A>>,
}

#[derive(Default)]
struct Progress {
    stage: Stage,
    /// The failure that keeps it waiting.
    last: Option<Error>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent that could apply it.
    #[default]
    Queued,
    /// It is in a write whose outcome is not known yet.
    Sent,
    /// The caller has given up before it was sent. It must not be sent any more.
    Abandoned,
}

impl<Q, A> Waiting<Q, A> {
    pub(crate) fn new(request: Q) -> (Self, Ticket<A>) {
        let progress = Arc::<Mutex<Progress>>::default();
        let (sender, receiver) = oneshot::channel();
        let ticket = Ticket {
            progress: progress.clone(),
            answer: receiver,
        };
        (
            Self {
                request,
                progress,
                answer: sender,
            },
            ticket,
        )
    }

    /// Claims the request for a write. `false`: the caller has given up.
    pub(crate) fn begin(&self) -> bool {
        if self.answer.is_closed() {
            return false;
        }
        let mut progress = lock(&self.progress);
        if progress.stage == Stage::Abandoned {
            return false;
        }
        progress.stage = Stage::Sent;
        true
    }

    /// The write that it was claimed for was not applied and never will be.
    pub(crate) fn requeue(&self) {
        let mut progress = lock(&self.progress);
        // Who has given up was told that nothing was applied, and stays so.
        if progress.stage == Stage::Sent {
            progress.stage = Stage::Queued;
        }
    }

    /// Whether a caller still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        lock(&self.progress).stage != Stage::Abandoned && !self.answer.is_closed()
    }

    /// Notes why there is no answer yet.
    pub(crate) fn note(&self, error: &Error) {
        lock(&self.progress).last = Some(error.clone());
    }

    pub(crate) fn answer(self, answer: Result<A>) {
        // A caller that no longer waits does not want it.
        let _ = self.answer.send(answer);
    }
}

impl<A> Ticket<A> {
    /// Waits for the answer, at most until `deadline`, which is `after` the call. `store` names
    /// the bucket in errors.
    pub(crate) async fn wait(
        self,
        store: impl FnOnce() -> String,
        deadline: Instant,
        after: Duration,
    ) -> Result<A> {
        match timeout_at(deadline, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(give_up(&self.progress).unanswered(store())),
            Err(_) => Err(give_up(&self.progress).overdue(store(), after)),
        }
    }
}

/// What a caller knows who gives up.
struct GivenUp {
    sent: bool,
    last: Option<Error>,
}

fn give_up(progress: &Mutex<Progress>) -> GivenUp {
    let mut progress = lock(progress);
    let sent = progress.stage == Stage::Sent;
    if !sent {
        progress.stage = Stage::Abandoned;
    }
    GivenUp {
        sent,
        last: progress.last.take(),
    }
}

impl GivenUp {
    fn overdue(self, store: String, after: Duration) -> Error {
        match self.last {
            _ if self.sent => {
                let reason = format!("its write was not answered within {after:?}");
                Error::Indeterminate {
                    store,
                    reason,
                    source: self.source(),
                }
            }
            Some(throttled @ Error::Throttled { .. }) => throttled,
            _ => {
                let reason = match &self.last {
                    Some(last) => format!("{}; gave up after {after:?}", last_reason(last)),
                    None => format!("no answer within {after:?}"),
                };
                Error::Unavailable {
                    store,
                    reason,
                    source: self.source(),
                }
            }
        }
    }

    /// The task that was to answer is gone, with its runtime.
    fn unanswered(self, store: String) -> Error {
        if self.sent {
            let reason = "the runtime of the store was shut down".to_owned();
            Error::Indeterminate {
                store,
                reason,
                source: None,
            }
        } else {
            Error::Closed { store }
        }
    }

    fn source(self) -> Option<kv_core::Source> {
        match self.last {
            Some(Error::Unavailable { source, .. }) => source,
            _ => None,
        }
    }
}

fn last_reason(error: &Error) -> String {
    match error {
        Error::Unavailable { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_that_nothing_was_applied_is_never_sent() {
        let (waiting, ticket) = Waiting::<(), ()>::new(());
        assert!(!give_up(&ticket.progress).sent);
        assert!(!waiting.begin());
        waiting.requeue();
        assert!(!waiting.begin());
    }
}
