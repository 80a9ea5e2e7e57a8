//! The answers to requests, and the events of a watch.

use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Value};

use super::messages::{
    List, MAGIC, ObjectMeta, Pair, PartialObjectMetadata, Status, Unknown, WatchEvent,
};
use crate::engine::{Content, ResourceVersion, fields};
use crate::object::{Metadata, Object, SEGMENT_KEY};
use crate::resource::Resource;

/// A segment as it was read: the name of its object, and its bytes where there are any.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// An object was made or changed.
    Changed(Object),
    Deleted {
        uid: String,
        version: String,
    },
    /// Everything up to this version has been told.
    Bookmark(String),
    /// The watch ends: the version that it began with is too old, or the server cannot keep up.
    Ended(Status),
    /// Something that only a read tells.
    Unreadable,
}

/// Reads an event of a watch.
pub(crate) fn told(resource: Resource, event: Bytes) -> Told {
    decode_event(resource, event).unwrap_or(Told::Unreadable)
}

fn decode_event(resource: Resource, event: Bytes) -> Option<Told> {
    let event = WatchEvent::decode(event).ok()?;
    let object = event.object?.raw;
    // The metadata has the same number in every kind of object.
    let metadata = || PartialObjectMetadata::decode(open(&object)?).ok()?.metadata;
    Some(match event.kind.as_str() {
        "ADDED" | "MODIFIED" => Told::Changed(decode_object(resource, open(&object)?)?),
        "DELETED" => {
            let metadata = metadata()?;
            let (uid, version) = (metadata.uid, metadata.resource_version);
            Told::Deleted { uid, version }
        }
        "BOOKMARK" => Told::Bookmark(metadata()?.resource_version),
        "ERROR" => Told::Ended(status(&object).unwrap_or_default()),
        _ => return None,
    })
}

/// Reads the answer to a request for an object. `None`: it is no such object, or has a field that is
/// not understood here.
pub(crate) fn object(resource: Resource, answer: &Bytes) -> Option<Object> {
    decode_object(resource, open(answer)?)
}

/// The version of an object whose metadata was answered.
pub(crate) fn version(answer: &Bytes) -> Option<ResourceVersion> {
    let object = PartialObjectMetadata::decode(open(answer)?).ok()?;
    object.metadata?.resource_version.parse().ok()
}

/// Reads the answer to a request for a segment. `None`: it is no such object.
pub(crate) fn segment(resource: Resource, answer: &Bytes) -> Option<Segment> {
    decode_segment(resource, open(answer)?)
}

/// Reads the answer to a request for several.
pub(crate) fn segments(resource: Resource, answer: &Bytes) -> Option<Vec<Segment>> {
    let items = List::decode(open(answer)?).ok()?.items.into_iter();
    items.map(|item| decode_segment(resource, item)).collect()
}

/// Reads an answer that tells of a failure; not every one is of the API server.
pub(crate) fn status(answer: &Bytes) -> Option<Status> {
    Status::decode(open(answer)?).ok()
}

pub(super) fn open(answer: &Bytes) -> Option<Bytes> {
    let unknown = answer.slice_ref(answer.strip_prefix(MAGIC)?);
    Some(Unknown::decode(unknown).ok()?.raw)
}

/// An object, with its metadata as they came.
#[derive(Default)]
struct Parts {
    metadata: Bytes,
    /// What is in the field that holds our data.
    data: Vec<Pair>,
    other_keys: Vec<String>,
    is_immutable: bool,
}

fn decode_parts(resource: Resource, object: Bytes) -> Option<Parts> {
    let mut parts = Parts::default();
    for field in fields(object) {
        match (resource, field.ok()?) {
            (_, (1, Content::Bytes(metadata))) => parts.metadata = metadata,
            (Resource::ConfigMap, (3, Content::Bytes(pair)))
            | (Resource::Secret, (2, Content::Bytes(pair))) => {
                parts.data.push(Pair::decode(pair).ok()?);
            }
            (Resource::ConfigMap, (2, Content::Bytes(pair))) => {
                parts.other_keys.push(Pair::decode(pair).ok()?.key);
            }
            (Resource::ConfigMap, (4, Content::Number(immutable)))
            | (Resource::Secret, (5, Content::Number(immutable))) => {
                parts.is_immutable = immutable != 0;
            }
            // As in JSON: what else an object has is left alone.
            _ => {}
        }
    }
    Some(parts)
}

fn decode_segment(resource: Resource, object: Bytes) -> Option<Segment> {
    let parts = decode_parts(resource, object)?;
    let ours = parts.data.into_iter().find(|pair| pair.key == SEGMENT_KEY);
    Some(Segment {
        name: ObjectMeta::decode(parts.metadata).ok()?.name,
        bytes: ours.unwrap_or_default().value,
    })
}

fn decode_object(resource: Resource, object: Bytes) -> Option<Object> {
    let parts = decode_parts(resource, object)?;
    // A copy: a slice would keep a whole buffer of the connection in memory.
    let copy = |pair: Pair| (pair.key, Bytes::copy_from_slice(&pair.value));
    Some(Object {
        metadata: decode_metadata(parts.metadata)?,
        is_immutable: parts.is_immutable,
        data: parts.data.into_iter().map(copy).collect(),
        other_keys: parts.other_keys,
    })
}

/// `None`: it has a field that is not understood here, and would be lost when the object is written.
fn decode_metadata(metadata: Bytes) -> Option<Metadata> {
    let mut read = Map::new();
    let mut owners = Vec::new();
    let mut finalizers = Vec::new();
    for field in fields(metadata) {
        match field.ok()? {
            // The server writes these, too, where they are empty.
            (_, Content::Number(0)) => {}
            (_, Content::Bytes(bytes)) if bytes.is_empty() => {}
            (number @ (1 | 2 | 3 | 5 | 6), Content::Bytes(bytes)) => {
                let field = match number {
                    1 => "name",
                    2 => "generateName",
                    3 => "namespace",
                    5 => "uid",
                    _ => "resourceVersion",
                };
                read.insert(field.to_owned(), text(&bytes)?);
            }
            (number @ (11 | 12), Content::Bytes(pair)) => {
                let field = if number == 11 {
                    "labels"
                } else {
                    "annotations"
                };
                let Pair { key, value } = Pair::decode(pair).ok()?;
                let entries = read.entry(field).or_insert_with(|| Map::new().into());
                entries.as_object_mut()?.insert(key, text(&value)?);
            }
            (13, Content::Bytes(owner)) => owners.push(decode_owner(owner)?),
            (14, Content::Bytes(bytes)) => finalizers.push(text(&bytes)?),
            // Who is deleted is not written any more.
            (9, _) => drop(read.insert("deletionTimestamp".to_owned(), Value::Null)),
            // The generation, the time of creation and the time to end, which the server keeps, and
            // who wrote which field, which it is asked to forget.
            (7 | 8 | 10 | 17, _) => {}
            _ => return None,
        }
    }
    for (field, list) in [("ownerReferences", owners), ("finalizers", finalizers)] {
        if !list.is_empty() {
            read.insert(field.to_owned(), list.into());
        }
    }
    Some(Metadata::new(read))
}

fn decode_owner(owner: Bytes) -> Option<Value> {
    let mut read = Map::new();
    for field in fields(owner) {
        let (field, value) = match field.ok()? {
            (1, Content::Bytes(bytes)) => ("kind", text(&bytes)?),
            (3, Content::Bytes(bytes)) => ("name", text(&bytes)?),
            (4, Content::Bytes(bytes)) => ("uid", text(&bytes)?),
            (5, Content::Bytes(bytes)) => ("apiVersion", text(&bytes)?),
            (6, Content::Number(is)) => ("controller", (is != 0).into()),
            (7, Content::Number(is)) => ("blockOwnerDeletion", (is != 0).into()),
            _ => return None,
        };
        read.insert(field.to_owned(), value);
    }
    Some(read.into())
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds bytes, of fewer than 128.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn read(metadata: &[Vec<u8>]) -> Option<Metadata> {
        decode_metadata(metadata.concat().into())
    }

    /// As the API server does, which is written in Go.
    #[test]
    fn what_is_written_though_it_is_empty_is_not_there() {
        let (generation, created) = (vec![7 << 3, 0], field(8, &[8, 1]));
        let fields = [field(1, b"b"), field(2, b""), generation, created];
        let read = read(&fields).unwrap();
        assert_eq!(
            read,
            Metadata::new(Map::from_iter([("name".to_owned(), "b".into())]))
        );
    }

    #[test]
    fn what_would_be_lost_in_a_write_is_not_understood() {
        assert!(read(&[field(1, b"b")]).is_some());
        assert_eq!(read(&[field(1, b"b"), field(4, b"l")]), None);
        let deleted = read(&[field(1, b"b"), field(9, &[8, 1]), vec![10 << 3, 30]]);
        assert!(deleted.unwrap().is_terminating());
        let owner = |fields: &[Vec<u8>]| read(&[field(13, &fields.concat())]);
        assert!(owner(&[field(4, b"u")]).is_some());
        assert_eq!(owner(&[field(4, b"u"), field(15, b"new")]), None);
    }

    #[test]
    fn what_is_no_event_is_left_to_a_read() {
        for event in [&b""[..], b"\xff", b"\x0a\x05ADDED"] {
            let told = told(Resource::ConfigMap, Bytes::from_static(event));
            assert!(matches!(told, Told::Unreadable), "{told:?}");
        }
    }

    #[test]
    fn an_error_ends_a_watch_whatever_it_says() {
        for object in [&b"k8s\0\xff"[..], b"{}"] {
            let event = [field(1, b"ERROR"), field(2, &field(1, object))].concat();
            let told = told(Resource::ConfigMap, event.into());
            assert!(matches!(told, Told::Ended(_)), "{told:?}");
        }
    }
}
