use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kv_core::backend::Backoff;
use kv_core::{Commit, Operation, Result, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::attempt::Next;
use crate::contention::{Contention, Sight};
use crate::engine::{BucketId, Edit, SegmentId};
use crate::forwarding::Forwarding;
use crate::known::Present;
use crate::leader::offers_arrived;
use crate::leading::Leading;
use crate::maintainer::Wake;
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
    /// Its place in the batch that was offered to another writer, which may commit it at any time.
    pub(crate) offered_as: Option<usize>,
}

impl Job {
    pub(crate) fn new(transaction: Transaction) -> Self {
        Self {
            transaction: Arc::new(transaction),
            given_up: Vec::new(),
            offered_as: None,
        }
    }
}

/// How many transactions, and how many bytes of keys and values, go into one write.
const BATCH_TRANSACTIONS: usize = 1_024;
const BATCH_BYTES: usize = 1024 * 1024;

/// How often, at most and at least, the queue is looked at in vain before who was expected is no longer.
/// All other tasks run between two looks: where there are few, 256 are some tenths of a millisecond.
const MOST_LOOKS: usize = 256;
const LEAST_LOOKS: usize = 16;

/// The longest that is waited for who was expected: a part of the time that a write takes, and at most.
const WAITING_PART: u32 = 4;
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

/// How long an edit waits for a commit to ride on.
const EDIT_WAITS: Duration = Duration::from_millis(50);

/// How long groups of commits go into the head after a segment for one could not be made.
pub(crate) const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The same after a write that was not applied, as a rule because others write: what takes two requests
/// loses against what takes one, and has made its segment in vain.
pub(crate) const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// How often an edit is tried as a write of its own.
const EDIT_ATTEMPTS: u32 = 8;

/// An edit that waits to be put in place.
pub(crate) struct Handed {
    pub(crate) bucket: BucketId,
    pub(crate) edit: Edit,
    pub(crate) done: oneshot::Sender<Fate>,
}

/// What became of an edit.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is in this head.
    InPlace(Arc<Present>),
    /// It does not fit the bucket any more: it is not in the present head, which names these
    /// segments, nor in a later one.
    Outdated { named: BTreeSet<SegmentId> },
    /// Nobody can tell.
    Unknown,
}

/// The one task that writes a bucket for this process: it takes all transactions that wait and
/// commits them together. It is a task of its own, so that a caller who stops waiting does not
/// stop a write.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    /// Names this committer in the head's table of writers.
    pub(crate) writer: u64,
    /// Counts its batches. Every write that differs from the one before gets a new number.
    pub(crate) counter: u64,
    contention: Contention,
    pub(crate) scope: Scope,
    groups_rest_until: Option<Instant>,
    pub(crate) posted: Posted,
    pub(crate) edit: Option<Handed>,
    pub(crate) maintainer: mpsc::UnboundedSender<Wake>,
    queue: mpsc::Receiver<Pending>,
    edits: mpsc::Receiver<Handed>,
    /// Taken from the queue, not yet decided about.
    backlog: VecDeque<Pending>,
    /// How many transactions waited when the last were answered, and how many these were.
    expected: AtomicUsize,
    /// How often the queue is looked at in vain for them.
    looks: usize,
    pub(crate) forwarding: Forwarding,
    /// While others may offer us their batches.
    pub(crate) leading: Option<Leading>,
    pub(crate) last_write_took: Duration,
    pub(crate) random: StdRng,
}

/// How much of a batch is decided about together, and where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    All,
    /// All of it, and only large commits get segments.
    AllInHead,
    /// One transaction at a time, so that a refusal meets the one that needs the segments.
    One,
}

impl Scope {
    fn in_head(self) -> Self {
        match self {
            Self::All => Self::AllInHead,
            narrower => narrower,
        }
    }
}

/// The segments that were made for the present batch, and are named by no head yet.
#[derive(Debug, Default)]
pub(crate) struct Posted {
    pub(crate) nonce: u64,
    /// Segments from before a sweep may be gone.
    pub(crate) sweep_epoch: u64,
    pub(crate) segments: HashSet<SegmentId>,
}

impl Posted {
    /// How far apart the names of successive writes are: more than one write has commits.
    const STRIDE: u64 = 1 << 20;

    pub(crate) fn renew(&mut self) {
        self.nonce = self.nonce.wrapping_add(Self::STRIDE);
        self.segments.clear();
    }
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Pending>,
        edits: mpsc::Receiver<Handed>,
        maintainer: mpsc::UnboundedSender<Wake>,
        mut random: StdRng,
    ) -> Self {
        let writer = random.next_u64();
        Self {
            shared,
            writer,
            counter: 0,
            contention: Contention::default(),
            scope: Scope::default(),
            groups_rest_until: None,
            posted: Posted::default(),
            edit: None,
            maintainer,
            queue,
            edits,
            backlog: VecDeque::new(),
            expected: AtomicUsize::new(0),
            looks: MOST_LOOKS,
            forwarding: Forwarding::default(),
            leading: None,
            last_write_took: Duration::ZERO,
            random,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.fill_backlog().await {
            self.end_leading();
            if self.backlog.is_empty() {
                self.commit_edit().await;
                if self.leading.is_some() {
                    self.leave_room(Contention::begin_batch).await;
                    self.commit_offers().await;
                    self.contention.end_batch(Instant::now());
                }
            } else {
                let batch = self.take_batch();
                let has_edit = self.edit.is_some();
                self.commit(batch).await;
                self.end_offer(&mut []);
                // It is left where it had no write to ride on, as where others have committed the batch.
                // One that came meanwhile waits for the next.
                if has_edit {
                    self.commit_edit().await;
                }
                self.forget_posted();
                self.contention.end_batch(Instant::now());
            }
        }
    }

    /// Waits until there is something to do. `false`: all handles are gone.
    async fn fill_backlog(&mut self) -> bool {
        if self.backlog.is_empty() {
            let first = match self.edit {
                Some(_) => match timeout(EDIT_WAITS, self.queue.recv()).await {
                    Ok(received) => received,
                    Err(_) => return true,
                },
                None => tokio::select! {
                    biased;
                    received = self.queue.recv() => received,
                    () = offers_arrived(&mut self.leading, self.shared.known()) => {
                        self.take_edit();
                        return true;
                    }
                    Some(edit) = self.edits.recv() => {
                        self.edit = Some(edit);
                        return Box::pin(self.fill_backlog()).await;
                    }
                },
            };
            match first {
                Some(pending) => self.backlog.push_back(pending),
                None => return false,
            }
        }
        self.gather().await;
        self.take_edit();
        true
    }

    /// Takes what waits. Who was just answered comes again at once, as a rule: without a moment for
    /// that, callers would share their writes with half of the others only, in turn. Where they do not
    /// come, as those who put something once, the moment becomes short.
    async fn gather(&mut self) {
        let until = Instant::now() + (self.last_write_took / WAITING_PART).min(LONGEST_GATHERING);
        let mut in_vain = 0;
        while self.backlog.len() < BATCH_TRANSACTIONS {
            let before = self.backlog.len();
            tokio::task::yield_now().await;
            self.take_queued();
            let has_all = self.backlog.len() >= *self.expected.get_mut();
            match self.backlog.len() - before {
                0 if has_all => break,
                0 => in_vain += 1,
                _ => in_vain = 0,
            }
            if in_vain >= self.looks || (!has_all && Instant::now() >= until) {
                self.looks = (self.looks / 2).max(LEAST_LOOKS);
                return;
            }
        }
        self.looks = (self.looks * 2).min(MOST_LOOKS);
    }

    fn take_queued(&mut self) {
        while self.backlog.len() < BATCH_TRANSACTIONS
            && let Ok(pending) = self.queue.try_recv()
        {
            self.backlog.push_back(pending);
        }
    }

    /// Notes who may come again once so many are answered.
    pub(crate) fn expect(&self, answered: usize) {
        let all = answered + self.backlog.len() + self.queue.len();
        self.expected.store(all, Ordering::Relaxed);
    }

    fn take_edit(&mut self) {
        if self.edit.is_none() {
            self.edit = self.edits.try_recv().ok();
        }
    }

    /// Writes an edit that no commit came to carry.
    async fn commit_edit(&mut self) {
        let mut backoff = Backoff::new(self.random.random());
        for _ in 0..EDIT_ATTEMPTS {
            if self.edit.is_none() {
                return;
            }
            if let Next::Again { after } = self.step(&mut Vec::new(), true, &mut backoff).await {
                tokio::time::sleep(after).await;
            }
        }
        self.end_edit(|| Fate::Unknown);
    }

    /// Says what became of the edit.
    pub(crate) fn end_edit(&mut self, fate: impl FnOnce() -> Fate) {
        if let Some(handed) = self.edit.take() {
            // A maintainer that is gone does not want to know.
            let _ = handed.done.send(fate());
        }
    }

    /// From now on groups go into the head, for so long at least.
    pub(crate) fn rest_groups(&mut self, rest: Duration) {
        self.scope = self.scope.in_head();
        let until = Instant::now() + rest;
        self.groups_rest_until = self.groups_rest_until.max(Some(until));
    }

    /// Nothing was made yet for what is written next.
    pub(crate) fn begin_writes(&mut self) {
        self.scope = match self.groups_rest_until {
            Some(until) if Instant::now() < until => Scope::AllInHead,
            _ => Scope::All,
        };
        self.posted = Posted {
            nonce: self.random.random(),
            ..Posted::default()
        };
    }

    /// The transactions of one write: at least one, more up to the bounds.
    fn take_batch(&mut self) -> Vec<Pending> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = self.backlog.pop_front() {
            bytes += content_bytes(&pending.request.transaction);
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
        if !self.forward(&mut batch).await {
            self.leave_room(Contention::begin_batch).await;
            self.gather_offers().await;
        }
        // Whether the known state is at least as new as every call of this batch.
        let mut fresh = false;
        self.begin_writes();
        loop {
            batch.retain(Waiting::is_wanted);
            if batch.is_empty() {
                return;
            }
            self.take_edit();
            match self.step(&mut batch, fresh, &mut backoff).await {
                Next::Answered => {}
                Next::OnFreshBase => fresh = true,
                Next::OneByOne => self.scope = Scope::One,
                Next::AfterConflict => {
                    fresh = true;
                    self.note_conflict().await;
                    if !self.forward(&mut batch).await {
                        self.leave_room(Contention::after_conflict).await;
                    }
                }
                Next::Again { after } => tokio::time::sleep(after).await,
            }
        }
    }
}

impl Committer {
    /// Leaves the bucket to the others for a while, at random up to what `longest` says, if anything.
    /// Then reads again: a base that was read before the wait loses against whoever did not wait,
    /// every time.
    async fn leave_room(&mut self, longest: fn(&mut Contention, &Sight<'_>) -> Option<Duration>) {
        let known = self.shared.known();
        let Some(present) = known.present() else {
            return;
        };
        let sight = Sight {
            now: Instant::now(),
            revision: present.head.revision(),
            writers_since: &|since| present.head.writers_since(since, self.writer),
        };
        let Some(longest) = longest(&mut self.contention, &sight) else {
            return;
        };
        let millis = self.random.random_range(0..=longest.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        // Where it fails, the next attempt meets the failure, or a conflict.
        let _ = self.shared.refresh().await;
        self.contention.begin_turn(Instant::now());
    }
}

pub(crate) fn content_bytes(transaction: &Transaction) -> usize {
    let bytes = |operation: &Operation| match operation {
        Operation::Put { key, value, .. } => key.as_str().len() + value.len(),
        Operation::Delete { key, .. } => key.as_str().len(),
    };
    transaction.operations().iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use kv_core::Key;

    use super::*;

    #[test]
    fn keys_count_as_much_as_values() {
        let key = |number: u32| Key::new(format!("{number:0>1000}")).unwrap();
        let deletes = (0..1_000).fold(Transaction::new(), |all, number| all.delete(key(number)));
        assert_eq!(content_bytes(&deletes), 1_000_000);
        assert_eq!(
            content_bytes(&Transaction::new().put(key(1), "value")),
            1_005
        );
    }
}
