use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::future::{Either, select};
use futures::stream::{self, StreamExt};
use tokio::sync::watch;

use super::{Cursors, Snapshot};
use crate::{
    Change, Clock, Entry, Key, ListOptions, Listing, Result, Revision, SnapshotReason, WatchEvent,
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

/// Where the snapshots of watchers come from, for backends that do not keep their entries in memory.
/// The snapshots that they publish then hold only the entries that expire, and these without
/// their values.
#[async_trait]
pub trait SnapshotSource: std::fmt::Debug + Send + Sync {
    /// The entries under `prefix` at the time `now`, in the order of their keys, with the last
    /// commit that they are of. No commit that has been published may be missing.
    async fn entries(&self, prefix: &str, now: SystemTime) -> Result<(Revision, Vec<Entry>)>;
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

    /// Puts the state after these commits in place, and tells the watchers of each of them, oldest
    /// first. Where there is none, there is nothing to tell, and all stays as it is.
    ///
    /// Of commits that were made together only the last state is wanted: one for each of them
    /// would have every commit copy what the one before has changed.
    pub fn publish(&self, snapshot: Snapshot, records: Vec<Arc<Record>>) {
        let Some(first) = records.first() else {
            return;
        };
        let mut state = self.state();
        if state.snapshot.revision() == Revision::ZERO {
            state.first = first.revision;
        }
        state.extend(records);
        state.snapshot = snapshot;
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
    pub fn begin(&self, snapshot: Snapshot, after: Revision, records: Vec<Arc<Record>>) {
        let mut before = Snapshot::default();
        before.loaded_through(after);
        self.begin_anew(before, after, SnapshotReason::Lagged);
        if records.is_empty() {
            return self.skip_to(snapshot);
        }
        self.publish(snapshot, records);
    }

    /// Puts another form of the newest state in place, of the same revision.
    pub fn replace(&self, snapshot: Snapshot) {
        self.state().snapshot = snapshot;
        self.wake();
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
        Watcher::new(self.clone(), None, self.clock.clone(), options).stream()
    }

    /// Begins a watch on the history of this replica that takes its snapshots from `source`, and
    /// the time from `clock`. Where the source fails, so does the watch, and it ends.
    #[must_use]
    pub fn watch_from(
        self: &Arc<Self>,
        source: Arc<dyn SnapshotSource>,
        clock: Arc<dyn Clock>,
        options: WatchOptions,
    ) -> WatchStream {
        Watcher::new(self.clone(), Some(source), clock, options).stream()
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
    /// Adds commits to the history, which is kept within its bounds. Of those that come together none
    /// is too many: who has been told all before them has not had the time to fall behind.
    fn extend(&mut self, records: Vec<Arc<Record>>) {
        let most = HISTORY_COMMITS.max(records.len());
        self.history_bytes += records.iter().map(|record| record.bytes()).sum::<usize>();
        self.history.extend(records);
        while self.history.len() > most || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= oldest.bytes();
            self.complete_after = oldest.revision;
        }
    }

    fn has_all_after(&self, revision: Revision) -> bool {
        let is_earlier = revision != Revision::ZERO && revision < self.first;
        self.complete_after <= revision && revision <= self.snapshot.revision() && !is_earlier
    }

    /// The end of the history, to go on from with a state of the commit `revision`.
    fn end(&self, revision: Revision) -> Position {
        // An empty bucket is at revision zero also where its history begins later.
        let revision = revision.max(self.complete_after);
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
    source: Option<Arc<dyn SnapshotSource>>,
    clock: Arc<dyn Clock>,
    prefix: String,
    wakeups: watch::Receiver<u64>,
    position: Position,
    /// Expiries up to this time have been told.
    expired_until: SystemTime,
    /// Comes directly after the event told last. `expired_until` is past these expiries, so that
    /// nothing later would tell of them.
    overdue: Option<WatchEvent>,
}

enum Position {
    /// A snapshot comes next.
    Snapshot(SnapshotReason),
    /// What comes after this revision is next.
    After { epoch: u64, revision: Revision },
}

impl Position {
    fn at_least(self, least: Revision) -> Self {
        match self {
            Self::After { epoch, revision } => Self::After {
                epoch,
                revision: revision.max(least),
            },
            snapshot @ Self::Snapshot(_) => snapshot,
        }
    }
}

/// What a watcher does next.
enum Step {
    Tell(WatchEvent),
    TakeSnapshot(SnapshotReason),
    Wait,
}

impl Watcher {
    fn new(
        replica: Arc<Replica>,
        source: Option<Arc<dyn SnapshotSource>>,
        clock: Arc<dyn Clock>,
        options: WatchOptions,
    ) -> Self {
        let WatchOptions { prefix, start } = options;
        let wakeups = replica.published.subscribe();
        let state = replica.state();
        let (position, expired_until) = match start {
            WatchStart::Snapshot => (Position::Snapshot(SnapshotReason::Requested), UNIX_EPOCH),
            WatchStart::Now => (state.end(state.snapshot.revision()), clock.now()),
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
            source,
            clock,
            prefix,
            wakeups,
            position,
            expired_until,
            overdue: None,
        }
    }

    fn stream(self) -> WatchStream {
        stream::unfold(Some(self), |watcher| async move {
            let mut watcher = watcher?;
            let event = watcher.next().await?;
            let goes_on = event.is_ok().then_some(watcher);
            Some((event, goes_on))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<WatchEvent>> {
        loop {
            self.wakeups.mark_unchanged();
            match self.step() {
                Step::Tell(event) => return Some(Ok(event)),
                Step::TakeSnapshot(reason) => return Some(self.snapshot(reason).await),
                Step::Wait => {}
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
                    let expiry = self.clock.sleep_until(time);
                    if let Either::Left((closed, _)) = select(Box::pin(woken), expiry).await {
                        closed.ok()?;
                    }
                }
            }
        }
    }

    /// What can be done at once.
    fn step(&mut self) -> Step {
        if let Some(event) = self.overdue.take() {
            return Step::Tell(event);
        }
        let replica = self.replica.clone();
        let state = replica.state();
        let (epoch, revision) = match self.position {
            Position::Snapshot(reason) => return Step::TakeSnapshot(reason),
            Position::After { epoch, revision } => (epoch, revision),
        };
        if epoch != state.epoch {
            return Step::TakeSnapshot(state.reset_by.unwrap_or(SnapshotReason::Lagged));
        }
        if revision < state.complete_after {
            return Step::TakeSnapshot(SnapshotReason::Lagged);
        }
        let first = state
            .history
            .partition_point(|record| record.revision <= revision);
        for record in state.history.iter().skip(first) {
            if let Some(event) = self.tell(epoch, record) {
                return Step::Tell(event);
            }
        }
        let expired = self.tell_expired(&state.snapshot);
        expired.map_or(Step::Wait, Step::Tell)
    }

    async fn snapshot(&mut self, reason: SnapshotReason) -> Result<WatchEvent> {
        let now = self.clock.now();
        let (snapshot, end) = {
            let state = self.replica.state();
            (state.snapshot.clone(), state.end(state.snapshot.revision()))
        };
        let (revision, entries) = match &self.source {
            None => {
                let entries = snapshot.range(&self.prefix, None, now).cloned();
                (snapshot.revision(), entries.collect())
            }
            Some(source) => source.entries(&self.prefix, now).await?,
        };
        // A source may be ahead of what has been published. Where there was a reset meanwhile, the
        // epoch of before leads to the next snapshot.
        self.position = end.at_least(revision);
        self.expired_until = now;
        Ok(WatchEvent::Snapshot {
            reason,
            revision,
            entries,
        })
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
        self.overdue = self.overdue(revision, &changes);
        (!changes.is_empty()).then_some(WatchEvent::Changes { revision, changes })
    }

    /// The expiry of entries whose time had come before they were told of: a commit takes a while
    /// from its decision to its publication.
    fn overdue(&self, revision: Revision, changes: &[Change]) -> Option<WatchEvent> {
        let keys: Vec<Key> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Put(entry) if entry.is_expired(self.expired_until) => Some(&entry.key),
                _ => None,
            })
            .cloned()
            .collect();
        (!keys.is_empty()).then_some(WatchEvent::Expired { revision, keys })
    }

    fn tell_expired(&mut self, snapshot: &Snapshot) -> Option<WatchEvent> {
        let now = self.clock.now();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use futures::FutureExt;

    use crate::ManualClock;
    use crate::backend::{Effect, Stored};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key::new(*name).unwrap()).collect()
    }

    /// A replica at the time 100, and commits that were decided about whenever the test says.
    struct Bench {
        replica: Arc<Replica>,
        clock: ManualClock,
    }

    impl Bench {
        fn new() -> Self {
            let clock = ManualClock::default();
            clock.set(at(100));
            let replica = Replica::new(Snapshot::default(), Arc::new(clock.clone()));
            let replica = Arc::new(replica);
            Self { replica, clock }
        }

        /// Publishes puts with the seconds of their expiries, decided about at the second `now`.
        fn publish(&self, now: u64, puts: &[(&str, u64)]) -> Revision {
            let mut snapshot = self.replica.snapshot();
            let reclaimed = snapshot.reclaim(at(now), usize::MAX);
            let revision = Revision::new(snapshot.revision().get() + 1);
            let (effects, changes): (Vec<_>, Vec<_>) = puts
                .iter()
                .map(|(name, expires)| put(name, *expires, revision))
                .unzip();
            snapshot.apply(revision, &effects);
            let record = Record {
                revision,
                changes,
                reclaimed,
            };
            self.replica.publish(snapshot, vec![Arc::new(record)]);
            revision
        }

        fn watch(&self, start: WatchStart) -> WatchStream {
            self.replica
                .watch(WatchOptions::prefix("p").with_start(start))
        }
    }

    fn put(name: &str, expires: u64, revision: Revision) -> (Effect, Change) {
        let key = Key::new(name).unwrap();
        let (value, expires_at) = (Bytes::new(), Some(at(expires)));
        let entry = Entry {
            key: key.clone(),
            value: value.clone(),
            revision,
            expires_at,
        };
        let stored = Some(Stored { value, expires_at });
        (Effect { key, stored }, Change::Put(entry))
    }

    /// What the watch tells without waiting: each commit by its revision, each expiry by its keys
    /// and the last commit before.
    fn told(watch: &mut WatchStream) -> Vec<(Revision, Vec<Key>)> {
        let mut told = Vec::new();
        while let Some(event) = watch.next().now_or_never() {
            told.push(match event.unwrap().unwrap() {
                WatchEvent::Changes { revision, .. } => (revision, Vec::new()),
                WatchEvent::Expired { revision, keys } => (revision, keys),
                snapshot @ WatchEvent::Snapshot { .. } => panic!("{snapshot:?}"),
            });
        }
        told
    }

    #[test]
    fn what_has_expired_before_it_is_published_is_told_as_expired_after_its_commit() {
        let bench = Bench::new();
        let mut watch = bench.watch(WatchStart::Now);
        let first = bench.publish(95, &[("o", 97), ("p1", 97), ("p2", 100), ("p3", 101)]);
        let expected = [(first, vec![]), (first, keys(&["p1", "p2"]))];
        assert_eq!(told(&mut watch), expected);
        let second = bench.publish(100, &[("p4", 200)]);
        assert_eq!(told(&mut watch), [(second, vec![])], "told once");
        bench.clock.set(at(101));
        assert_eq!(told(&mut watch), [(second, keys(&["p3"]))]);
    }

    #[test]
    fn commits_that_are_published_together_are_told_one_by_one_and_can_be_resumed_between() {
        let (one, bench) = (Bench::new(), Bench::new());
        let mut watch = bench.watch(WatchStart::Now);
        for number in 1..=3 {
            one.publish(100, &[(&format!("p{number}"), 200)]);
        }
        let records = Vec::from(one.replica.state().history.clone());
        bench.replica.publish(one.replica.snapshot(), records);
        let of = |numbers: std::ops::RangeInclusive<u64>| -> Vec<_> {
            let told = |number| (Revision::new(number), vec![]);
            numbers.map(told).collect()
        };
        assert_eq!(told(&mut watch), of(1..=3));
        let mut resumed = bench.watch(WatchStart::After(Revision::new(1)));
        assert_eq!(told(&mut resumed), of(2..=3));
        assert_eq!(bench.replica.state().first, Revision::new(1));
    }

    #[test]
    fn who_has_been_told_all_is_told_of_more_commits_than_are_kept_where_they_come_together() {
        let bench = Bench::new();
        let mut watch = bench.watch(WatchStart::Now);
        let count = HISTORY_COMMITS as u64 + 500;
        let record = |number| {
            let revision = Revision::new(number);
            let (changes, reclaimed) = (vec![put("p", 200, revision).1], vec![]);
            Arc::new(Record {
                revision,
                changes,
                reclaimed,
            })
        };
        let mut snapshot = Snapshot::default();
        snapshot.loaded_through(Revision::new(count));
        bench
            .replica
            .publish(snapshot, (1..=count).map(record).collect());
        let expected: Vec<_> = (1..=count)
            .map(|one| (Revision::new(one), vec![]))
            .collect();
        assert_eq!(told(&mut watch), expected);
        bench.publish(100, &[("p", 200)]);
        assert_eq!(bench.replica.state().history.len(), HISTORY_COMMITS);
    }

    /// A source of which the first read succeeds, while a commit is made that is published later.
    #[derive(Debug, Default)]
    struct Ahead(AtomicBool);

    #[async_trait]
    impl SnapshotSource for Ahead {
        async fn entries(&self, _: &str, _: SystemTime) -> Result<(Revision, Vec<Entry>)> {
            match self.0.swap(true, Ordering::Relaxed) {
                false => Ok((Revision::new(2), Vec::new())),
                true => Err(crate::Error::Closed {
                    store: "a test".to_owned(),
                }),
            }
        }
    }

    #[test]
    fn a_snapshot_from_a_source_leaves_out_what_it_holds_already_and_a_failure_ends_the_watch() {
        let bench = Bench::new();
        let (source, clock) = (Arc::new(Ahead::default()), Arc::new(bench.clock.clone()));
        bench.publish(100, &[("p1", 200)]);
        let options = WatchOptions::default();
        let mut watch = bench.replica.watch_from(source, clock, options);
        let first = watch.next().now_or_never().unwrap().unwrap();
        assert!(matches!(first, Ok(WatchEvent::Snapshot { revision, .. }) if revision.get() == 2));
        bench.publish(100, &[("p2", 200)]);
        let third = bench.publish(100, &[("p3", 200)]);
        assert_eq!(told(&mut watch), [(third, vec![])]);
        bench.replica.reset(Snapshot::default(), third);
        assert!(matches!(watch.next().now_or_never(), Some(Some(Err(_)))));
        assert!(matches!(watch.next().now_or_never(), Some(None)));
    }

    #[test]
    fn a_slow_consumer_is_told_so_once_before_the_commit_that_reclaims() {
        let bench = Bench::new();
        let mut watch = bench.watch(WatchStart::Now);
        let first = bench.publish(95, &[("p1", 97), ("p2", 120)]);
        let second = bench.publish(110, &[("p1", 98), ("p3", 130)]);
        let third = bench.publish(125, &[("p4", 200)]);
        bench.clock.set(at(150));
        let expected = [
            (first, vec![]),
            (first, keys(&["p1"])),
            (second, vec![]),
            (second, keys(&["p1"])),
            (second, keys(&["p2"])),
            (third, vec![]),
            (third, keys(&["p3"])),
        ];
        assert_eq!(told(&mut watch), expected);
    }

    #[test]
    fn who_resumes_is_told_of_each_expiry_once() {
        let bench = Bench::new();
        let first = bench.publish(95, &[("p1", 97)]);
        let second = bench.publish(110, &[("p2", 111)]);
        bench.clock.set(at(112));
        let expected = [
            (first, vec![]),
            (first, keys(&["p1"])),
            (second, vec![]),
            (second, keys(&["p2"])),
        ];
        let mut watch = bench.watch(WatchStart::After(Revision::ZERO));
        assert_eq!(told(&mut watch), expected);
    }
}
