//! The objects, their versions and the history of changes: what etcd and the watch cache hold.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::kind::Kind;
use crate::object::Object;

/// Where an object lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(kind: Kind, namespace: &str, name: &str) -> Key {
        Key {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// One change, as watches report it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) previous: Option<Arc<Object>>,
    /// The object after the change, or a deleted one at the deletion's version.
    pub(crate) object: Arc<Object>,
    pub(crate) deleted: bool,
}

/// How much history is kept for watches and for the pages of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) changes: usize,
    /// Big objects would make a window of changes alone too expensive.
    pub(crate) bytes: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            changes: 10_000,
            bytes: 64 << 20,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Arc<Object>>,
    revision: u64,
    history: VecDeque<Change>,
    history_bytes: usize,
    /// Changes up to this version are forgotten.
    compacted: u64,
    window: Window,
}

impl Store {
    pub(crate) fn new(first_revision: u64) -> Store {
        Store {
            objects: BTreeMap::new(),
            revision: first_revision,
            history: VecDeque::new(),
            history_bytes: 0,
            compacted: first_revision,
            window: Window::default(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest version from which every later change is still known.
    pub(crate) fn oldest(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// The objects of a kind, of one namespace or of all, in the order of their names.
    pub(crate) fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let all = namespace.is_empty();
        self.objects
            .range(Key::new(kind, namespace, "")..)
            .take_while(move |(key, _)| key.kind == kind && (all || key.namespace == namespace))
            .map(|(_, object)| object)
    }

    /// The objects as they were at a version, or nothing when that is forgotten.
    pub(crate) fn list_at(
        &self,
        kind: Kind,
        namespace: &str,
        revision: u64,
    ) -> Option<Vec<Arc<Object>>> {
        if revision < self.compacted {
            return None;
        }
        if revision >= self.revision {
            return Some(self.list(kind, namespace).cloned().collect());
        }
        let mut then: BTreeMap<Key, Arc<Object>> = self
            .list(kind, namespace)
            .map(|object| (key_of(object), Arc::clone(object)))
            .collect();
        let undo = self
            .history
            .iter()
            .rev()
            .take_while(|change| change.revision > revision);
        for change in undo {
            let object = &change.object;
            let here = namespace.is_empty() || object.namespace() == namespace;
            if object.kind() != kind || !here {
                continue;
            }
            match &change.previous {
                Some(previous) => then.insert(key_of(object), Arc::clone(previous)),
                None => then.remove(&key_of(object)),
            };
        }
        Some(then.into_values().collect())
    }

    /// Writes a new version of an object.
    pub(crate) fn put(&mut self, key: Key, value: Value) -> Arc<Object> {
        self.revision += 1;
        let object = Arc::new(Object::new(key.kind, value, self.revision));
        let previous = self.objects.insert(key, Arc::clone(&object));
        self.record(previous, Arc::clone(&object), false);
        object
    }

    /// Removes an object; the answer is its last content at the deletion's version.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let previous = self.objects.remove(key)?;
        self.revision += 1;
        let object = Arc::new(previous.at(self.revision));
        self.record(Some(previous), Arc::clone(&object), true);
        Some(object)
    }

    /// Uses up a version without a change, as a write to another resource would.
    pub(crate) fn skip_revisions(&mut self, count: u64) {
        self.revision += count;
    }

    /// The changes after a version, oldest first.
    pub(crate) fn changes_after(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let start = self
            .history
            .partition_point(|change| change.revision <= revision);
        self.history.range(start..)
    }

    /// Forgets the history up to now, so that a watch from an older version is refused.
    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.history_bytes = 0;
        self.compacted = self.revision;
    }

    pub(crate) fn set_window(&mut self, window: Window) {
        self.window = window;
        self.trim();
    }

    fn record(&mut self, previous: Option<Arc<Object>>, object: Arc<Object>, deleted: bool) {
        self.history_bytes += object.weight();
        let revision = self.revision;
        self.history.push_back(Change {
            revision,
            previous,
            object,
            deleted,
        });
        self.trim();
    }

    fn trim(&mut self) {
        while self.history.len() > self.window.changes || self.history_bytes > self.window.bytes {
            let Some(change) = self.history.pop_front() else {
                return;
            };
            self.history_bytes -= change.object.weight();
            self.compacted = change.revision;
        }
    }
}

fn key_of(object: &Object) -> Key {
    Key::new(object.kind(), object.namespace(), object.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Key, Kind, Store, Window};

    fn put(store: &mut Store, name: &str, value: &str) -> u64 {
        let object = json!({
            "metadata": { "namespace": "ns", "name": name },
            "data": { "k": value },
        });
        store
            .put(Key::new(Kind::ConfigMap, "ns", name), object)
            .revision()
    }

    fn names_at(store: &Store, revision: u64) -> Option<Vec<String>> {
        let objects = store.list_at(Kind::ConfigMap, "ns", revision)?;
        Some(
            objects
                .iter()
                .map(|o| format!("{}={}", o.name(), o.value()["data"]["k"]))
                .collect(),
        )
    }

    #[test]
    fn an_old_version_is_rebuilt_from_the_history() {
        let mut store = Store::new(10);
        let first = put(&mut store, "a", "1");
        let second = put(&mut store, "b", "1");
        put(&mut store, "a", "2");
        store.remove(&Key::new(Kind::ConfigMap, "ns", "b"));
        assert_eq!(names_at(&store, first), Some(vec!["a=\"1\"".to_owned()]));
        let both = vec!["a=\"1\"".to_owned(), "b=\"1\"".to_owned()];
        assert_eq!(names_at(&store, second), Some(both));
        store.compact();
        assert_eq!(names_at(&store, second), None);
    }

    #[test]
    fn the_window_forgets_the_oldest() {
        let mut store = Store::new(10);
        store.set_window(Window {
            changes: 2,
            bytes: 1 << 20,
        });
        for n in 0..5 {
            put(&mut store, "a", &n.to_string());
        }
        assert_eq!((store.revision(), store.oldest()), (15, 13));
        assert_eq!(store.changes_after(13).count(), 2);
    }
}
