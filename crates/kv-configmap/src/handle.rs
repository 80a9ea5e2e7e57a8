use std::sync::Arc;

use kv_core::{Commit, Consistency, Error, Limits, Result, Revision, Transaction};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::committer::{Committer, Handed, Job, Pending};
use crate::engine::{CAPACITY, Layout};
use crate::follower::Following;
use crate::known::Known;
use crate::maintainer::Maintainer;
use crate::reader::{self, Read};
use crate::shared::Shared;
use crate::waiting::{Ticket, Waiting};

/// How many calls may wait for the committer or the reader; the next one waits to get in.
const QUEUE: usize = 1_024;

/// The largest value of a bucket in one object: one that does not compress still fits, with its
/// key.
const SINGLE_OBJECT_VALUE_BYTES: usize = 1_000 * 1024;

const _: () = assert!(SINGLE_OBJECT_VALUE_BYTES + Limits::CONTRACT.key_bytes + 512 < CAPACITY);

/// What a bucket of that layout accepts.
pub(crate) fn limits(layout: &Layout) -> Limits {
    let largest = if layout.has_segments {
        Limits::CONTRACT.value_bytes
    } else {
        SINGLE_OBJECT_VALUE_BYTES
    };
    Limits {
        value_bytes: largest.min(layout.bucket_bytes as usize),
        bucket_bytes: Some(layout.bucket_bytes),
        ..Limits::CONTRACT
    }
}

/// A bucket with the tasks that serve it, which live as long as a handle does.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) limits: Limits,
    pub(crate) deadline: Duration,
    commits: mpsc::Sender<Pending>,
    reads: mpsc::Sender<Read>,
    pub(crate) edits: mpsc::Sender<Handed>,
    maintainer: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What it has made and not put in place, a sweep removes.
        self.maintainer.abort();
        self.shared.close();
    }
}

impl Handle {
    /// Starts the tasks of a bucket on the current runtime.
    pub(crate) fn start(shared: Shared, deadline: Duration) -> Self {
        let shared = Arc::new(shared);
        let (commits, commit_queue) = mpsc::channel(QUEUE);
        let (reads, read_queue) = mpsc::channel(QUEUE);
        let (wake, wakes) = mpsc::unbounded_channel();
        let (edit, edits) = mpsc::channel(1);
        let mut random = shared.hooks.random();
        tokio::spawn(reader::serve(shared.clone(), read_queue, random.random()));
        let seed = StdRng::from_rng(&mut random);
        tokio::spawn(Committer::new(shared.clone(), commit_queue, edits, wake, seed).run());
        let seed = StdRng::from_rng(&mut random);
        let maintainer = Maintainer::new(shared.clone(), wakes, edit.clone(), seed).run();
        let maintainer = tokio::spawn(maintainer).abort_handle();
        Self {
            limits: limits(&shared.layout),
            shared,
            deadline,
            commits,
            reads,
            edits: edit,
            maintainer,
        }
    }

    /// Waits until the bucket is followed.
    ///
    /// # Errors
    ///
    /// The failure of the server, or that it does not allow it.
    pub(crate) async fn followed(&self) -> Result<()> {
        let mut status = self.shared.follow_from_now_on().status();
        let followed = status.wait_for(|status| !matches!(status, Following::NotYet));
        let store = self.shared.api.describe();
        match timeout(self.deadline, followed).await {
            Ok(Ok(status)) => match &*status {
                Following::Refused(error) => Err(error.clone()),
                Following::Yes | Following::NotYet => Ok(()),
            },
            Ok(Err(_)) => Err(Error::Closed { store }),
            Err(_) => Err(Error::Unavailable {
                store,
                reason: format!("it could not be followed within {:?}", self.deadline),
                source: None,
            }),
        }
    }

    /// Whether the runtime that the tasks lived on is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.commits.is_closed() || self.reads.is_closed()
    }

    /// The state that a read of that consistency is answered from.
    pub(crate) async fn state(&self, consistency: Consistency) -> Result<Known> {
        match consistency {
            Consistency::Cached => {
                self.shared.follow_from_now_on();
                Ok(self.shared.known())
            }
            // In boxes: the future of a cached read stays small.
            Consistency::Linearizable => Box::pin(self.fresh()).await,
            Consistency::AtLeast(revision) => Box::pin(self.at_least(revision)).await,
        }
    }

    /// Whoever has heard of a revision has heard of it after its commit, so that a read from now
    /// sees it, unless the bucket has been torn down since.
    async fn at_least(&self, revision: Revision) -> Result<Known> {
        let known = self.shared.known();
        if known.has_reached(revision) {
            return Ok(known);
        }
        let known = self.fresh().await?;
        match known.present() {
            Some(present) if !known.has_reached(revision) => {
                let last = present.head.snapshot().revision();
                let reason = format!("revision {revision} is not reached; the last one is {last}");
                let store = self.shared.api.describe();
                Err(Error::Unavailable {
                    store,
                    reason,
                    source: None,
                })
            }
            _ => Ok(known),
        }
    }

    /// The state now, or later.
    pub(crate) async fn fresh(&self) -> Result<Known> {
        let (read, ticket) = Waiting::new(());
        self.ask(&self.reads, read, ticket).await
    }

    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        transaction.check(&self.limits)?;
        let (pending, ticket) = Waiting::new(Job::new(transaction));
        self.ask(&self.commits, pending, ticket).await
    }

    async fn ask<Q, A>(
        &self,
        queue: &mpsc::Sender<Waiting<Q, A>>,
        question: Waiting<Q, A>,
        ticket: Ticket<A>,
    ) -> Result<A> {
        let store = || self.shared.api.describe();
        let deadline = Instant::now() + self.deadline;
        match timeout_at(deadline, queue.send(question)).await {
            Ok(Ok(())) => ticket.wait(store, deadline, self.deadline).await,
            Ok(Err(_)) => Err(Error::Closed { store: store() }),
            Err(_) => {
                let reason = format!("{QUEUE} calls wait already, for {:?}", self.deadline);
                Err(Error::Unavailable {
                    store: store(),
                    reason,
                    source: None,
                })
            }
        }
    }
}
