use std::collections::BTreeMap;

use kv_core::{Change, Entry, Key, WatchEvent};

/// What a watcher knows that does as it is told, beginning with nothing.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    state: BTreeMap<Key, Entry>,
}

impl Replay {
    /// Does as the event tells.
    pub fn apply(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Snapshot { entries, .. } => {
                let entries = entries.iter().cloned();
                self.state = entries.map(|entry| (entry.key.clone(), entry)).collect();
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => self.state.insert(entry.key.clone(), entry.clone()),
                        Change::Delete(key) => self.state.remove(key),
                    };
                }
            }
            WatchEvent::Expired { keys, .. } => self.state.retain(|key, _| !keys.contains(key)),
        }
    }

    /// The entries in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.state.values()
    }
}

/// What a watcher knows in the end that does as it is told, beginning with nothing.
#[must_use]
pub fn replay(events: &[WatchEvent]) -> Vec<Entry> {
    let mut replay = Replay::default();
    for event in events {
        replay.apply(event);
    }
    replay.state.into_values().collect()
}
