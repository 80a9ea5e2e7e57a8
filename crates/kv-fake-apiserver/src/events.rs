//! The events of a watch, as lines of JSON or as frames of protobuf.

use bytes::Bytes;
use kube::core::Status;
use serde_json::json;

use crate::kind::Kind;
use crate::object::Object;
use crate::protobuf;
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
    pub(crate) in_protobuf: bool,
}

impl Filter {
    pub(crate) fn events(&self, store: &Store, after: u64) -> Vec<Bytes> {
        store
            .changes_after(after)
            .filter_map(|change| self.event_of(change))
            .collect()
    }

    /// A change, as it looks to somebody who sees only matching objects.
    fn event_of(&self, change: &Change) -> Option<Bytes> {
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
            (None, true) => Some(self.event("ADDED", object)),
            (Some(_), true) => Some(self.event("MODIFIED", object)),
            (Some(previous), false) => Some(self.event("DELETED", &previous.at(change.revision))),
        }
    }

    pub(crate) fn event(&self, kind: &str, object: &Object) -> Bytes {
        self.encode(kind, &object.render(self.metadata_only))
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
        self.encode("BOOKMARK", object.to_string().as_bytes())
    }

    /// The event by which a watch refuses to go on.
    pub(crate) fn error(&self, status: &Status) -> Bytes {
        self.encode("ERROR", status_json(status).to_string().as_bytes())
    }

    fn encode(&self, kind: &str, object: &[u8]) -> Bytes {
        if self.in_protobuf {
            let object = protobuf::from_json(object);
            return protobuf::event_frame(kind, object.expect("a message of that kind"));
        }
        let head = format!("{{\"type\":\"{kind}\",\"object\":");
        Bytes::from([head.as_bytes(), object, b"}\n"].concat())
    }
}
