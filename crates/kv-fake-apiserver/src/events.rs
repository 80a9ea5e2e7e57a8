//! The events of a watch, as lines of JSON.

use bytes::Bytes;
use kube::core::Status;
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::object::Object;
use crate::reply::status_json;
use crate::selector::Selector;
use crate::store::{Change, Store};

/// What a watch sees of the changes, and how.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) selector: Selector,
    pub(crate) metadata_only: bool,
}

impl Filter {
    pub(crate) fn lines(&self, store: &Store, after: u64) -> Vec<Bytes> {
        store
            .changes_after(after)
            .filter_map(|change| self.line_of(change))
            .collect()
    }

    /// A change, as it looks to somebody who sees only matching objects.
    fn line_of(&self, change: &Change) -> Option<Bytes> {
        let object = &change.object;
        let here = self.namespace.is_empty() || object.namespace() == self.namespace;
        if object.kind() != self.kind || !here {
            return None;
        }
        let before = change
            .previous
            .as_ref()
            .filter(|previous| self.selector.matches(previous));
        let after = !change.deleted && self.selector.matches(object);
        match (before, after) {
            (None, false) => None,
            (None, true) => Some(self.line("ADDED", object)),
            (Some(_), true) => Some(self.line("MODIFIED", object)),
            (Some(previous), false) => Some(self.line("DELETED", &previous.at(change.revision))),
        }
    }

    pub(crate) fn line(&self, event: &str, object: &Object) -> Bytes {
        let object = object.render(self.metadata_only);
        let head = format!("{{\"type\":\"{event}\",\"object\":");
        Bytes::from([head.as_bytes(), object.as_ref(), b"}\n"].concat())
    }

    pub(crate) fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let (kind, version) = match self.metadata_only {
            true => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            false => (self.kind.name(), "v1"),
        };
        let mut metadata =
            json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({ "kind": kind, "apiVersion": version, "metadata": metadata });
        event_line("BOOKMARK", &object)
    }
}

fn event_line(event: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({ "type": event, "object": object })))
}

/// The event by which a watch refuses to go on.
pub(crate) fn error_line(status: &Status) -> Bytes {
    event_line("ERROR", &status_json(status))
}
