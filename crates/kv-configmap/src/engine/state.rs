use std::collections::BTreeSet;

use kv_core::backend::{Effect, Snapshot};
use kv_core::{Entry, Key, Revision};
use rpds::RedBlackTreeMapSync;

/// What a bucket holds: the entries, and the keys whose removal older segments do not know yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    snapshot: Snapshot,
    tombstones: RedBlackTreeMapSync<Key, Revision>,
}

/// A key at one revision, as a segment holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entry(Entry),
    Tombstone(Key, Revision),
}

impl Item {
    /// What `effect` leaves as a part of the commit `revision`.
    pub(super) fn of(effect: &Effect, revision: Revision) -> Self {
        let key = effect.key.clone();
        match &effect.stored {
            Some(stored) => Self::Entry(Entry {
                key,
                value: stored.value.clone(),
                revision,
                expires_at: stored.expires_at,
            }),
            None => Self::Tombstone(key, revision),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Entry(entry) => &entry.key,
            Self::Tombstone(key, _) => key,
        }
    }

    /// Where it stands in a run: the newest item of a key is the last.
    pub(super) fn place(&self) -> (&Key, Revision) {
        (self.key(), self.revision())
    }

    pub(super) fn revision(&self) -> Revision {
        match self {
            Self::Entry(entry) => entry.revision,
            Self::Tombstone(_, revision) => *revision,
        }
    }
}

/// The commits after one revision, up to and including another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) after: Revision,
    pub(crate) through: Revision,
}

impl Range {
    pub(crate) fn contains(self, revision: Revision) -> bool {
        self.after < revision && revision <= self.through
    }
}

impl State {
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Applies one commit, which also reclaimed these keys.
    pub(super) fn apply<'a>(
        &mut self,
        revision: Revision,
        effects: &[Effect],
        reclaimed: impl IntoIterator<Item = &'a Key>,
    ) {
        for key in reclaimed {
            self.snapshot.unload(key);
            self.tombstones.insert_mut(key.clone(), revision);
        }
        for effect in effects {
            if effect.stored.is_some() {
                self.tombstones.remove_mut(&effect.key);
            } else {
                self.tombstones.insert_mut(effect.key.clone(), revision);
            }
        }
        self.snapshot.apply(revision, effects);
    }

    /// Takes over an item, unless a newer one of its key is there already.
    pub(super) fn load(&mut self, item: Item) {
        let known = self.snapshot.stored(item.key()).map(|entry| entry.revision);
        let known = known.or_else(|| self.tombstones.get(item.key()).copied());
        if known.is_some_and(|known| known >= item.revision()) {
            return;
        }
        match item {
            Item::Entry(entry) => {
                self.tombstones.remove_mut(&entry.key);
                self.snapshot.load(entry);
            }
            Item::Tombstone(key, revision) => {
                self.snapshot.unload(&key);
                self.tombstones.insert_mut(key, revision);
            }
        }
    }

    /// Says that all commits up to this one have been loaded.
    pub(super) fn loaded_through(&mut self, revision: Revision) {
        self.snapshot.loaded_through(revision);
    }

    /// What the commits of `range` have left, in the order of the keys: of all keys, or of some.
    pub(super) fn items(&self, range: Range, keys: Option<&BTreeSet<Key>>) -> Vec<Item> {
        let Some(keys) = keys else {
            let entries = self.snapshot.iter().cloned().map(Item::Entry);
            let tombstones = self.tombstones.iter();
            let tombstones =
                tombstones.map(|(key, revision)| Item::Tombstone(key.clone(), *revision));
            let all = entries.chain(tombstones);
            let mut items: Vec<_> = all.filter(|item| range.contains(item.revision())).collect();
            items.sort_unstable_by(|one, other| one.key().cmp(other.key()));
            return items;
        };
        let item = |key: &Key| match self.snapshot.stored(key) {
            Some(entry) => Some(Item::Entry(entry.clone())),
            None => {
                let revision = self.tombstones.get(key)?;
                Some(Item::Tombstone(key.clone(), *revision))
            }
        };
        let items = keys.iter().filter_map(item);
        items
            .filter(|item| range.contains(item.revision()))
            .collect()
    }

    /// Forgets the tombstones that `is_needed` no longer; returns the newest of their revisions.
    pub(super) fn forget_tombstones(&mut self, is_needed: impl Fn(Revision) -> bool) -> Revision {
        let unneeded = self
            .tombstones
            .iter()
            .filter(|(_, revision)| !is_needed(**revision));
        let unneeded: Vec<_> = unneeded
            .map(|(key, revision)| (key.clone(), *revision))
            .collect();
        for (key, _) in &unneeded {
            self.tombstones.remove_mut(key);
        }
        let newest = unneeded.iter().map(|(_, revision)| *revision).max();
        newest.unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn tombstones(&self) -> usize {
        self.tombstones.size()
    }
}
