//! What the controllers of a cluster do in the background, done here when a test says so.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kind::Kind;
use crate::object::Object;
use crate::registry::{Preconditions, Registry, Writer};
use crate::store::Key;

impl Registry {
    /// Deletes the objects whose owners are all gone, until nothing is left to do.
    pub(crate) fn collect_garbage(&mut self, writer: &Writer) -> usize {
        let mut total = 0;
        loop {
            let doomed = self.orphans();
            if doomed.is_empty() {
                return total;
            }
            for key in doomed {
                let deleted = self.delete(writer, &key, &Preconditions::default());
                total += usize::from(deleted.is_ok());
            }
        }
    }

    fn orphans(&self) -> Vec<Key> {
        let everything = || {
            Kind::ALL
                .into_iter()
                .flat_map(|kind| self.store.list(kind, ""))
        };
        let alive: BTreeSet<&str> = everything().map(|object| object.uid()).collect();
        let orphaned = |object: &&std::sync::Arc<Object>| {
            let owners = object.value()["metadata"]["ownerReferences"].as_array();
            let known = |owner: &Value| {
                // Kinds that the server does not have are given the benefit of the doubt.
                let foreign = owner["kind"].as_str().and_then(Kind::from_name).is_none();
                foreign || owner["uid"].as_str().is_some_and(|uid| alive.contains(uid))
            };
            !object.is_terminating()
                && owners.is_some_and(|owners| !owners.is_empty() && !owners.iter().any(known))
        };
        everything()
            .filter(orphaned)
            .map(|object| key_of(object))
            .collect()
    }

    /// Empties the namespaces that are being deleted, and removes those that are empty.
    pub(crate) fn finish_namespaces(&mut self, writer: &Writer) {
        let leaving: Vec<String> = self
            .store
            .list(Kind::Namespace, "")
            .filter(|namespace| namespace.is_terminating())
            .map(|namespace| namespace.name().to_owned())
            .collect();
        for name in leaving {
            let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_namespaced());
            let content: Vec<Key> = kinds
                .flat_map(|kind| self.store.list(kind, &name))
                .map(|o| key_of(o))
                .collect();
            for key in &content {
                // An object with finalizers stays, and so does its namespace.
                drop(self.delete(writer, key, &Preconditions::default()));
            }
            if content.iter().all(|key| self.store.get(key).is_none()) {
                self.store.remove(&Key::new(Kind::Namespace, "", &name));
            }
        }
    }
}

fn key_of(object: &Object) -> Key {
    Key::new(object.kind(), object.namespace(), object.name())
}
