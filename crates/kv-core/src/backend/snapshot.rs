use std::time::SystemTime;

use rpds::RedBlackTreeSetSync;

use super::entries::Entries;
use super::{Effect, Evaluation, evaluate};
use crate::{Clock, Cursor, Entry, Key, ListOptions, Listing, Result, Revision, Transaction};

/// A whole bucket at one revision, in memory. Cloning copies pointers: the clones share what
/// neither has changed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    revision: Revision,
    entries: Entries,
    expiries: RedBlackTreeSetSync<(SystemTime, Key)>,
    bytes: u64,
}

impl Snapshot {
    /// A bucket of these entries.
    #[must_use]
    pub fn new(revision: Revision, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut snapshot = Self {
            revision,
            ..Self::default()
        };
        for entry in entries {
            snapshot.insert(entry);
        }
        snapshot
    }

    /// The last commit that it contains.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of entries, those included whose time has come but that are not yet reclaimed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry of `key` at the time of `clock`, which is asked only where the entry expires.
    #[must_use]
    pub fn get(&self, key: &Key, clock: &impl Clock) -> Option<&Entry> {
        let is_there =
            |entry: &&Entry| entry.expires_at.is_none() || !entry.is_expired(clock.now());
        self.stored(key).filter(is_there)
    }

    /// The entry of `key`, also one whose time has come but that is not yet reclaimed.
    #[must_use]
    pub fn stored(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key.as_str())
    }

    /// Takes over an entry as it is, of whatever revision: for backends that put a snapshot
    /// together from parts. [`Snapshot::loaded_through`] ends the loading.
    pub fn load(&mut self, entry: Entry) {
        self.insert(entry);
    }

    /// Takes out the entry of a key, see [`Snapshot::load`].
    pub fn unload(&mut self, key: &Key) {
        self.remove(key);
    }

    /// Says which commit is the last that was loaded.
    pub fn loaded_through(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// All entries in the order of their keys, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entries whose keys begin with `prefix` at the time `now`, after the key `after`.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        now: SystemTime,
    ) -> impl Iterator<Item = &'a Entry> + 'a {
        let entries = match after.map(Key::as_str) {
            Some(after) if after >= prefix => self.entries.from(after, false),
            _ => self.entries.from(prefix, true),
        };
        entries
            .take_while(move |entry| entry.key.as_str().starts_with(prefix))
            .filter(move |entry| !entry.is_expired(now))
    }

    /// The page that `options` describes.
    #[must_use]
    pub fn page(&self, options: &ListOptions, now: SystemTime) -> Listing {
        let after = options.resume_after();
        let mut rest = self.range(&options.prefix, after, now);
        let limit = options.limit.unwrap_or(usize::MAX);
        let entries: Vec<Entry> = rest.by_ref().take(limit).cloned().collect();
        let cursor = rest.next().map(|_| {
            let after = entries.last().map(|entry| &entry.key).or(after);
            Cursor::new(self.revision, after.cloned())
        });
        Listing {
            entries,
            revision: self.revision,
            cursor,
        }
    }

    /// Decides about a transaction on this state, see [`evaluate`].
    ///
    /// # Errors
    ///
    /// As [`evaluate`].
    pub fn evaluate(&self, transaction: &Transaction, now: SystemTime) -> Result<Evaluation> {
        evaluate(transaction, now, |key| Ok(self.stored(key).cloned()))
    }

    /// Applies the effects of one commit.
    pub fn apply(&mut self, revision: Revision, effects: &[Effect]) {
        self.revision = revision;
        for Effect { key, stored } in effects {
            match stored.clone() {
                Some(stored) => self.insert(Entry {
                    key: key.clone(),
                    value: stored.value,
                    revision,
                    expires_at: stored.expires_at,
                }),
                None => self.remove(key),
            }
        }
    }

    /// The entries whose time came in the span `after < time <= until`, earliest first.
    pub fn expired(
        &self,
        after: SystemTime,
        until: SystemTime,
    ) -> impl Iterator<Item = (SystemTime, &Key)> {
        self.expiries
            .iter()
            .skip_while(move |(at, _)| *at <= after)
            .take_while(move |(at, _)| *at <= until)
            .map(|(at, key)| (*at, key))
    }

    /// When the next entry expires after the time `now`.
    #[must_use]
    pub fn next_expiry(&self, now: SystemTime) -> Option<SystemTime> {
        self.expiries.iter().map(|(at, _)| *at).find(|at| *at > now)
    }

    /// Removes what has expired by `now`, earliest first, and returns the keys with the times of
    /// their expiry: at most `most` entries, and those that expired at the same time as the last
    /// of them, so that a time tells a watcher what it has been told. A commit calls it, so that
    /// reclaiming costs no write of its own.
    pub fn reclaim(&mut self, now: SystemTime, most: usize) -> Vec<(SystemTime, Key)> {
        let mut expired: Vec<(SystemTime, Key)> = Vec::new();
        for (at, key) in self.expiries.iter().take_while(|(at, _)| *at <= now) {
            let is_tie = expired.last().is_some_and(|(last, _)| last == at);
            if expired.len() >= most && !is_tie {
                break;
            }
            expired.push((*at, key.clone()));
        }
        for (_, key) in &expired {
            self.remove(key);
        }
        expired
    }

    fn insert(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        let expiry = entry.expires_at.map(|at| (at, entry.key.clone()));
        if let Some(replaced) = self.entries.insert(entry) {
            self.forget(&replaced);
        }
        if let Some(expiry) = expiry {
            self.expiries.insert_mut(expiry);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(removed) = self.entries.remove(key.as_str()) {
            self.forget(&removed);
        }
    }

    /// Takes an entry that is gone out of the accounts.
    fn forget(&mut self, gone: &Entry) {
        self.bytes -= size(gone);
        if let Some(at) = gone.expires_at {
            self.expiries.remove_mut(&(at, gone.key.clone()));
        }
    }
}

fn size(entry: &Entry) -> u64 {
    (entry.key.as_str().len() + entry.value.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::backend::Stored;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn effect(key: &str, value: Option<(Vec<u8>, Option<u64>)>) -> Effect {
        Effect {
            key: Key::new(key).unwrap(),
            stored: value.map(|(value, expires)| Stored {
                value: Bytes::from(value),
                expires_at: expires.map(at),
            }),
        }
    }

    proptest! {
        /// Against a plain map: content, accounting and expiry after any series of commits.
        #[test]
        fn it_holds_what_a_plain_map_holds(
            steps in proptest::collection::vec(
                ("[abc]{1,3}", proptest::option::of(
                    (proptest::collection::vec(any::<u8>(), 0..4), proptest::option::of(1..9u64)))),
                0..40),
            now in 0..10u64,
        ) {
            let (mut snapshot, mut model) = (Snapshot::default(), BTreeMap::new());
            for (step, (key, value)) in steps.into_iter().enumerate() {
                snapshot.apply(Revision::new(step as u64 + 1), &[effect(&key, value.clone())]);
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
            let size: usize = model.iter().map(|(k, (v, _))| k.len() + v.len()).sum();
            prop_assert_eq!(snapshot.bytes(), size as u64);
            model.retain(|_, (_, expires)| expires.is_none_or(|seconds| seconds > now));
            let listing = snapshot.page(&ListOptions::default(), at(now));
            let found: Vec<_> = listing.entries.iter().map(|e| e.key.as_str().to_owned()).collect();
            prop_assert_eq!(found, model.keys().cloned().collect::<Vec<_>>());
            let gone = snapshot.reclaim(at(now), usize::MAX).len();
            prop_assert_eq!(snapshot.len(), model.len());
            prop_assert_eq!(snapshot.expired(UNIX_EPOCH, at(now)).count(), 0);
            prop_assert!(gone <= 40);
        }
    }

    #[test]
    fn those_who_expire_together_are_reclaimed_together() {
        let mut snapshot = Snapshot::default();
        let effects = ["a", "b", "c", "d"].map(|key| {
            let seconds = if key == "d" { 2 } else { 1 };
            effect(key, Some((vec![], Some(seconds))))
        });
        snapshot.apply(Revision::new(1), &effects);
        assert_eq!(snapshot.clone().reclaim(at(5), 0).len(), 0);
        assert_eq!(snapshot.clone().reclaim(at(5), 2).len(), 3);
        assert_eq!(snapshot.reclaim(at(5), 4).len(), 4);
    }

    #[test]
    fn a_page_of_nothing_still_says_that_more_is_left() {
        let mut snapshot = Snapshot::default();
        snapshot.apply(Revision::new(1), &[effect("a", Some((vec![], None)))]);
        let page = snapshot.page(&ListOptions::default().with_limit(0), at(0));
        assert!(page.entries.is_empty());
        let cursor = page.cursor.unwrap();
        let page = snapshot.page(&ListOptions::default().with_cursor(cursor), at(0));
        assert_eq!(page.entries.len(), 1);
        assert!(page.cursor.is_none());
    }
}
