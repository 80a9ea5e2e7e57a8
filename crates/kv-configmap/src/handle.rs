use std::sync::Arc;

use kv_core::backend::ForwardClock;
use kv_core::{Commit, Consistency, Error, Limits, Result, Revision, Transaction};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout_at};

use crate::api::HeadApi;
use crate::committer::{Committer, Job, Pending};
use crate::engine::CAPACITY;
use crate::known::Known;
use crate::reader::{self, Read};
use crate::shared::Shared;
use crate::waiting::{Ticket, Waiting};

/// How many calls may wait for the committer or the reader; the next one waits to get in.
const QUEUE: usize = 1_024;

/// The largest value: one that does not compress still fits into the bucket, with its key.
const VALUE_BYTES: usize = 1_000 * 1024;

/// The limits of a bucket in one object.
pub(crate) const LIMITS: Limits = Limits {
    value_bytes: VALUE_BYTES,
    bucket_bytes: Some(CAPACITY as u64),
    ..Limits::CONTRACT
};

const _: () = assert!(VALUE_BYTES + Limits::CONTRACT.key_bytes + 512 < CAPACITY);

/// A bucket with its committer and its reader, which live as long as a handle does.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    commits: mpsc::Sender<Pending>,
    reads: mpsc::Sender<Read>,
    pub(crate) deadline: Duration,
}

impl Handle {
    /// Starts the tasks of a bucket on the current runtime.
    pub(crate) fn start(api: HeadApi, clock: ForwardClock, deadline: Duration) -> Self {
        let shared = Arc::new(Shared::new(api, clock));
        let (commits, commit_queue) = mpsc::channel(QUEUE);
        let (reads, read_queue) = mpsc::channel(QUEUE);
        let mut random: StdRng = rand::make_rng();
        tokio::spawn(reader::serve(shared.clone(), read_queue, random.random()));
        let random = StdRng::from_rng(&mut random);
        tokio::spawn(Committer::new(shared.clone(), commit_queue, random).run());
        Self {
            shared,
            commits,
            reads,
            deadline,
        }
    }

    /// Whether the runtime that the tasks lived on is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.commits.is_closed() || self.reads.is_closed()
    }

    /// The state that a read of that consistency is answered from.
    pub(crate) async fn state(&self, consistency: Consistency) -> Result<Known> {
        let known = self.shared.known();
        match consistency {
            Consistency::Linearizable => self.fresh().await,
            Consistency::AtLeast(revision) if known.has_reached(revision) => Ok(known),
            Consistency::AtLeast(revision) => self.at_least(revision).await,
            Consistency::Cached => Ok(known),
        }
    }

    /// Whoever has heard of a revision has heard of it after its commit, so that a read from now
    /// sees it, unless the bucket has been torn down since.
    async fn at_least(&self, revision: Revision) -> Result<Known> {
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
        transaction.check(&LIMITS)?;
        let (pending, ticket) = Waiting::new(Job::new(transaction));
        self.ask(&self.commits, pending, ticket).await
    }

    async fn ask<Q, A>(
        &self,
        queue: &mpsc::Sender<Waiting<Q, A>>,
        question: Waiting<Q, A>,
        ticket: Ticket<A>,
    ) -> Result<A> {
        let store = self.shared.api.describe();
        let deadline = Instant::now() + self.deadline;
        match timeout_at(deadline, queue.send(question)).await {
            Ok(Ok(())) => ticket.wait(&store, deadline, self.deadline).await,
            Ok(Err(_)) => Err(Error::Closed { store }),
            Err(_) => {
                let reason = format!("{QUEUE} calls wait already, for {:?}", self.deadline);
                Err(Error::Unavailable {
                    store,
                    reason,
                    source: None,
                })
            }
        }
    }
}
