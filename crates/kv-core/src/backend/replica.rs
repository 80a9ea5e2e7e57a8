use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::{Either, select};
use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::{Cursors, Snapshot};
use crate::{
    Change, Clock, Key, ListOptions, Listing, Result, Revision, SnapshotReason, WatchEvent,
    WatchOptions, WatchStart, WatchStream,
};

/// How many commits are kept for watchers that are behind, and for those that resume.
const HISTORY_COMMITS: usize = 1_024;

/// How many bytes of keys and values the kept commits may hold together.
const HISTORY_BYTES: usize = 32 * 1024 * 1024;

/// The newest state of a bucket with its recent history: serves reads, cursors and watchers.
///
/// Watchers read the kept history at their own pace. Nothing is queued for them, so that a slow
/// one costs no memory and delays nobody; one that falls behind the history gets a snapshot.
#[derive(Debug)]
pub struct Replica {
    state: Mutex<State>,
    cursors: Cursors,
    clock: Arc<dyn Clock>,
    /// Counts what was published, to wake watchers.
    published: watch::Sender<u64>,
}

/// One commit, as watchers are told of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The revision.
    pub revision: Revision,
    /// What it changed, in the order of the keys.
    pub changes: Vec<Change>,
    /// What it reclaimed: entries that had expired, with the times when they did.
    pub reclaimed: Vec<(SystemTime, Key)>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    /// Raised by every reset, which ends the history of all watchers.
    epoch: u64,
    /// Why the last reset.
    reset_by: Option<SnapshotReason>,
    /// The commits after the revision `complete_after`, oldest first, none missing.
    history: VecDeque<Arc<Record>>,
    history_bytes: usize,
    complete_after: Revision,
    /// The first commit since the bucket was empty: an earlier revision is of a bucket before it.
    first: Revision,
}

impl Replica {
    /// A replica whose history begins with this state.
    #[must_use]
    pub fn new(snapshot: Snapshot, clock: Arc<dyn Clock>) -> Self {
        let complete_after = snapshot.revision();
        let state = State {
            snapshot,
            complete_after,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            cursors: Cursors::default(),
            clock,
            published: watch::Sender::new(0),
        }
    }

    /// The newest state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot.clone()
    }

    /// Puts the state after one more commit in place, and tells the watchers.
    pub fn publish(&self, snapshot: Snapshot, record: Record) {
        let mut state = self.state();
        if state.snapshot.revision() == Revision::ZERO {
            state.first = record.revision;
        }
        state.snapshot = snapshot;
        state.history_bytes += record.bytes();
        state.history.push_back(Arc::new(record));
        while state.history.len() > HISTORY_COMMITS || state.history_bytes > HISTORY_BYTES {
            let Some(oldest) = state.history.pop_front() else {
                break;
            };
            state.history_bytes -= oldest.bytes();
            state.complete_after = oldest.revision;
        }
        drop(state);
        self.wake();
    }

    /// Puts the state after a teardown in place: watchers get it as a snapshot.
    /// Every revision given out before is below `complete_after`, every later one above.
    pub fn reset(&self, snapshot: Snapshot, complete_after: Revision) {
        self.begin_anew(snapshot, complete_after, SnapshotReason::Teardown);
    }

    /// Puts a newer state in place without the commits that led to it: watchers get it as a
    /// snapshot.
    pub fn skip_to(&self, snapshot: Snapshot) {
        let complete_after = snapshot.revision();
        self.begin_anew(snapshot, complete_after, SnapshotReason::Lagged);
    }

    /// Puts the first state in place that was read, with the commits that led to it after
    /// `after`, for those who resume a watch of another process.
    pub fn begin(&self, snapshot: Snapshot, after: Revision, records: Vec<Record>) {
        let mut before = Snapshot::default();
        before.loaded_through(after);
        self.begin_anew(before, after, SnapshotReason::Lagged);
        if records.is_empty() {
            return self.skip_to(snapshot);
        }
        for record in records {
            self.publish(snapshot.clone(), record);
        }
    }

    fn begin_anew(&self, snapshot: Snapshot, complete_after: Revision, why: SnapshotReason) {
        let mut state = self.state();
        state.reset_by = Some(why);
        state.complete_after = complete_after;
        state.snapshot = snapshot;
        state.history.clear();
        state.history_bytes = 0;
        state.epoch += 1;
        drop(state);
        self.wake();
    }

    /// The page that `options` describes: from the newest state, or from that of the cursor.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`](crate::Error::Compacted) where the snapshot of the cursor is gone.
    pub fn page(&self, options: &ListOptions) -> Result<Listing> {
        self.cursors
            .page(&self.snapshot(), options, self.clock.now())
    }

    /// Begins a watch on the history of this replica.
    #[must_use]
    pub fn watch(self: &Arc<Self>, options: WatchOptions) -> WatchStream {
        let watcher = Watcher::new(self.clone(), options);
        stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((Ok(event), watcher))
        })
        .boxed()
    }

    fn wake(&self) {
        self.published.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before the next statement that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_all_after(&self, revision: Revision) -> bool {
        let is_earlier = revision != Revision::ZERO && revision < self.first;
        self.complete_after <= revision && revision <= self.snapshot.revision() && !is_earlier
    }

    fn newest(&self) -> Position {
        // An empty bucket is at revision zero also where its history begins later.
        let revision = self.snapshot.revision().max(self.complete_after);
        Position::After {
            epoch: self.epoch,
            revision,
        }
    }
}

impl Record {
    fn bytes(&self) -> usize {
        let change = |change: &Change| match change {
            Change::Put(entry) => entry.key.as_str().len() + entry.value.len(),
            Change::Delete(key) => key.as_str().len(),
        };
        let reclaimed = |(_, key): &(SystemTime, Key)| key.as_str().len();
        self.changes.iter().map(change).sum::<usize>()
            + self.reclaimed.iter().map(reclaimed).sum::<usize>()
    }
}

/// One watch: a place in the history of a [`Replica`].
struct Watcher {
    // Weak would end the stream when the last handle is dropped; a watch keeps the state alive
    // instead, as a reader of a file does.
    replica: Arc<Replica>,
    prefix: String,
    wakeups: watch::Receiver<u64>,
    position: Position,
    /// Expiries up to this time have been told.
    expired_until: SystemTime,
}

enum Position {
    /// A snapshot comes next.
    Snapshot(SnapshotReason),
    /// What comes after this revision is next.
    After { epoch: u64, revision: Revision },
}

impl Watcher {
    fn new(replica: Arc<Replica>, options: WatchOptions) -> Self {
        let WatchOptions { prefix, start } = options;
        let wakeups = replica.published.subscribe();
        let state = replica.state();
        let (position, expired_until) = match start {
            WatchStart::Snapshot => (Position::Snapshot(SnapshotReason::Requested), UNIX_EPOCH),
            WatchStart::Now => (state.newest(), replica.clock.now()),
            WatchStart::After(revision) if !state.has_all_after(revision) => {
                (Position::Snapshot(SnapshotReason::Compacted), UNIX_EPOCH)
            }
            WatchStart::After(revision) => (
                Position::After {
                    epoch: state.epoch,
                    revision,
                },
                UNIX_EPOCH,
            ),
        };
        drop(state);
        Self {
            replica,
            prefix,
            wakeups,
            position,
            expired_until,
        }
    }

    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            self.wakeups.mark_unchanged();
            if let Some(event) = self.step() {
                return Some(event);
            }
            let next_expiry = self
                .replica
                .state()
                .snapshot
                .next_expiry(self.expired_until);
            let woken = self.wakeups.changed();
            match next_expiry {
                None => woken.await.ok()?,
                Some(time) => {
                    let expiry = self.replica.clock.sleep_until(time);
                    if let Either::Left((closed, _)) = select(Box::pin(woken), expiry).await {
                        closed.ok()?;
                    }
                }
            }
        }
    }

    /// The next event that can be told at once.
    fn step(&mut self) -> Option<WatchEvent> {
        let replica = self.replica.clone();
        let state = replica.state();
        let (epoch, revision) = match self.position {
            Position::Snapshot(reason) => return Some(self.snapshot(&state, reason)),
            Position::After { epoch, revision } => (epoch, revision),
        };
        if epoch != state.epoch {
            let why = state.reset_by.unwrap_or(SnapshotReason::Lagged);
            return Some(self.snapshot(&state, why));
        }
        if revision < state.complete_after {
            return Some(self.snapshot(&state, SnapshotReason::Lagged));
        }
        let first = state
            .history
            .partition_point(|record| record.revision <= revision);
        for record in state.history.iter().skip(first) {
            if let Some(event) = self.tell(epoch, record) {
                return Some(event);
            }
        }
        self.tell_expired(&state.snapshot)
    }

    fn snapshot(&mut self, state: &State, reason: SnapshotReason) -> WatchEvent {
        let now = self.replica.clock.now();
        let revision = state.snapshot.revision();
        self.position = state.newest();
        self.expired_until = now;
        let entries = state
            .snapshot
            .range(&self.prefix, None, now)
            .cloned()
            .collect();
        WatchEvent::Snapshot {
            reason,
            revision,
            entries,
        }
    }

    /// Tells of one commit. What it reclaimed comes first, unless its expiry was told in time.
    fn tell(&mut self, epoch: u64, record: &Record) -> Option<WatchEvent> {
        let untold = record
            .reclaimed
            .iter()
            .filter(|(at, _)| *at > self.expired_until);
        let latest = untold.clone().map(|(at, _)| *at).max();
        let keys = self.matching(untold.map(|(_, key)| key));
        self.expired_until = self.expired_until.max(latest.unwrap_or(UNIX_EPOCH));
        if !keys.is_empty() {
            let Position::After { revision, .. } = self.position else {
                return None;
            };
            return Some(WatchEvent::Expired { revision, keys });
        }
        let revision = record.revision;
        self.position = Position::After { epoch, revision };
        let matches = |change: &&Change| change.key().as_str().starts_with(&self.prefix);
        let changes: Vec<Change> = record.changes.iter().filter(matches).cloned().collect();
        (!changes.is_empty()).then_some(WatchEvent::Changes { revision, changes })
    }

    fn tell_expired(&mut self, snapshot: &Snapshot) -> Option<WatchEvent> {
        let now = self.replica.clock.now();
        let expired = snapshot
            .expired(self.expired_until, now)
            .map(|(_, key)| key);
        let keys = self.matching(expired);
        self.expired_until = self.expired_until.max(now);
        (!keys.is_empty()).then_some(WatchEvent::Expired {
            revision: snapshot.revision(),
            keys,
        })
    }

    fn matching<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        keys.filter(|key| key.as_str().starts_with(&self.prefix))
            .cloned()
            .collect()
    }
}
