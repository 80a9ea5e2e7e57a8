use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kv_core::backend::Backoff;
use kv_core::{Commit, Operation, Result, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tokio::sync::mpsc;

use crate::attempt::Next;
use crate::shared::Shared;
use crate::waiting::Waiting;

/// A transaction that waits to be committed.
pub(crate) type Pending = Waiting<Job, Commit>;

/// What a caller asked for, and what has been tried for it.
pub(crate) struct Job {
    pub(crate) transaction: Arc<Transaction>,
    /// The batches that it was sent with and that were given up before it was certain that they
    /// are not applied, each with the outcome it has if it is applied after all.
    pub(crate) given_up: Vec<(u64, Result<Commit>)>,
}

impl Job {
    pub(crate) fn new(transaction: Transaction) -> Self {
        Self {
            transaction: Arc::new(transaction),
            given_up: Vec::new(),
        }
    }
}

/// How many transactions, and how many bytes of values, go into one write.
const BATCH_TRANSACTIONS: usize = 1_024;
const BATCH_BYTES: usize = 1024 * 1024;

/// The longest wait after a conflict, a few times what a write takes: longer ones leave the bucket
/// to whoever does not wait.
const LONGEST_AFTER_CONFLICT: Duration = Duration::from_millis(32);

/// The one task that writes a bucket for this process: it takes all transactions that wait and
/// commits them together. It is a task of its own, so that a caller who stops waiting does not
/// stop a write.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    /// Names this committer in the head's table of writers.
    pub(crate) writer: u64,
    /// Counts its batches. Every write that differs from the one before gets a new number.
    pub(crate) counter: u64,
    queue: mpsc::Receiver<Pending>,
    /// Taken from the queue, not yet decided about.
    backlog: VecDeque<Pending>,
    random: StdRng,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Pending>,
        mut random: StdRng,
    ) -> Self {
        let writer = random.next_u64();
        Self {
            shared,
            writer,
            counter: 0,
            queue,
            backlog: VecDeque::new(),
            random,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.fill_backlog().await {
            let batch = self.take_batch();
            self.commit(batch).await;
        }
    }

    /// Waits until there is something to do. `false`: all handles are gone.
    async fn fill_backlog(&mut self) -> bool {
        if self.backlog.is_empty() {
            match self.queue.recv().await {
                Some(pending) => self.backlog.push_back(pending),
                None => return false,
            }
        }
        while self.backlog.len() < BATCH_TRANSACTIONS
            && let Ok(pending) = self.queue.try_recv()
        {
            self.backlog.push_back(pending);
        }
        true
    }

    /// The transactions of one write: at least one, more up to the bounds.
    fn take_batch(&mut self) -> Vec<Pending> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = self.backlog.pop_front() {
            bytes += value_bytes(&pending.request.transaction);
            if bytes > BATCH_BYTES && !batch.is_empty() {
                self.backlog.push_front(pending);
                break;
            }
            batch.push(pending);
        }
        batch
    }

    /// Answers every transaction of the batch for which somebody waits.
    async fn commit(&mut self, mut batch: Vec<Pending>) {
        let mut backoff = Backoff::new(self.random.random());
        let mut contention =
            Backoff::new(self.random.random()).with_longest(LONGEST_AFTER_CONFLICT);
        // Whether the known state is at least as new as every call of this batch.
        let mut fresh = false;
        loop {
            batch.retain(Waiting::is_wanted);
            if batch.is_empty() {
                return;
            }
            match self.step(&mut batch, fresh, &mut backoff).await {
                Next::Answered => {}
                Next::OnFreshBase => fresh = true,
                Next::AfterConflict => {
                    fresh = true;
                    self.let_others_pass(&mut contention).await;
                }
                Next::Again { after } => tokio::time::sleep(after).await,
            }
        }
    }
}

impl Committer {
    /// After a conflict, whose reason was read just now, the first attempt follows at once. The
    /// later ones wait, and then read again: a base that was read before the wait loses against
    /// whoever did not wait, every time.
    async fn let_others_pass(&self, contention: &mut Backoff) {
        let is_first = contention.attempts() == 0;
        let wait = contention.next_wait();
        if is_first {
            return;
        }
        tokio::time::sleep(wait).await;
        // Where it fails, the next attempt meets the failure, or a conflict.
        let _ = self.shared.refresh().await;
    }
}

pub(crate) fn value_bytes(transaction: &Transaction) -> usize {
    let bytes = |operation: &Operation| match operation {
        Operation::Put { value, .. } => value.len(),
        Operation::Delete { .. } => 0,
    };
    transaction.operations().iter().map(bytes).sum()
}
