//! Heads that are written, and segments, travel as protobuf, which takes the server less than JSON
//! with base64 in it. The messages here have only the fields that these need: a head is rewritten
//! with whatever others put into its metadata, and goes as JSON where that is anything else.
//!
//! The messages are those of `k8s.io/apimachinery/pkg/runtime/generated.proto`,
//! `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto` and
//! `k8s.io/api/core/v1/generated.proto`.

use bytes::Bytes;
use prost::Message;

use crate::object::{HEAD_KEY, Metadata, OFFER_KEY, SEGMENT_KEY};
use crate::resource::Resource;

/// The media type.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What every object begins with, before an [`Unknown`].
const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "bytes", tag = "2")]
    raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// What a map travels as; the values of labels and annotations are text.
#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(message, repeated, tag = "11")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "12")]
    annotations: Vec<Pair>,
    #[prost(message, repeated, tag = "13")]
    owner_references: Vec<OwnerReference>,
    #[prost(message, repeated, tag = "17")]
    managed_fields: Vec<ManagedFields>,
}

/// Only the empty one is ever sent.
#[derive(Clone, Copy, PartialEq, Message)]
struct ManagedFields {}

#[derive(Clone, PartialEq, Message)]
struct OwnerReference {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    uid: String,
    #[prost(string, tag = "5")]
    api_version: String,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "3")]
    binary_data: Vec<Pair>,
    #[prost(bool, optional, tag = "4")]
    immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "2")]
    data: Vec<Pair>,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

/// A list of objects, each still encoded.
#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(string, tag = "3")]
    pub(crate) message: String,
    #[prost(string, tag = "4")]
    pub(crate) reason: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) details: Option<StatusDetails>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct StatusDetails {
    #[prost(uint32, tag = "5")]
    pub(crate) retry_after_seconds: u32,
}

/// A segment as it was read: the name of its object, and its bytes where there are any.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// What the metadata of a head has unless others have put more there. The time of creation need not
/// be sent: the server keeps it.
const FIELDS: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "labels",
    "annotations",
    "managedFields",
];

/// The body of a request that writes a head, and has the server forget who wrote which field. `None`:
/// its metadata has more than the messages here.
pub(crate) fn head_body(resource: Resource, metadata: &Metadata, bytes: &Bytes) -> Option<Bytes> {
    let metadata = metadata.has_only(&FIELDS).then(|| ObjectMeta {
        managed_fields: vec![ManagedFields {}],
        ..object_meta(resource, metadata)
    });
    Some(object_body(resource, metadata?, HEAD_KEY, bytes, None))
}

/// The body of a request that makes a segment.
pub(crate) fn segment_body(resource: Resource, metadata: &Metadata, bytes: &Bytes) -> Bytes {
    let metadata = object_meta(resource, metadata);
    object_body(resource, metadata, SEGMENT_KEY, bytes, Some(true))
}

/// The body of a request that makes an offer, or replaces the one before, whatever its version.
pub(crate) fn offer_body(resource: Resource, metadata: &Metadata, bytes: &Bytes) -> Bytes {
    let metadata = ObjectMeta {
        managed_fields: vec![ManagedFields {}],
        ..object_meta(resource, metadata)
    };
    object_body(resource, metadata, OFFER_KEY, bytes, None)
}

fn object_body(
    resource: Resource,
    metadata: ObjectMeta,
    key: &str,
    bytes: &Bytes,
    immutable: Option<bool>,
) -> Bytes {
    let metadata = Some(metadata);
    let data = vec![Pair {
        key: key.to_owned(),
        value: bytes.clone(),
    }];
    let raw = match resource {
        Resource::ConfigMap => ConfigMap {
            metadata,
            binary_data: data,
            immutable,
        }
        .encode_to_vec(),
        Resource::Secret => Secret {
            metadata,
            data,
            immutable,
        }
        .encode_to_vec(),
    };
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: "v1".to_owned(),
            kind: resource.kind().to_owned(),
        }),
        raw: raw.into(),
    };
    let mut body = Vec::with_capacity(MAGIC.len() + unknown.encoded_len());
    body.extend_from_slice(MAGIC);
    body.extend(unknown.encode_to_vec());
    body.into()
}

fn object_meta(resource: Resource, metadata: &Metadata) -> ObjectMeta {
    let pair = |(key, value): (&str, &str)| Pair {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    ObjectMeta {
        name: metadata.name().to_owned(),
        namespace: metadata.text("namespace").to_owned(),
        uid: metadata.uid().to_owned(),
        resource_version: metadata.text("resourceVersion").to_owned(),
        labels: metadata.texts("labels").map(pair).collect(),
        annotations: metadata.texts("annotations").map(pair).collect(),
        owner_references: metadata
            .owners()
            .map(|(name, uid)| OwnerReference {
                kind: resource.kind().to_owned(),
                name: name.to_owned(),
                uid: uid.to_owned(),
                api_version: "v1".to_owned(),
            })
            .collect(),
        managed_fields: Vec::new(),
    }
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

fn open(answer: &Bytes) -> Option<Bytes> {
    let unknown = answer.slice_ref(answer.strip_prefix(MAGIC)?);
    Some(Unknown::decode(unknown).ok()?.raw)
}

fn decode_segment(resource: Resource, object: Bytes) -> Option<Segment> {
    let (metadata, data) = match resource {
        Resource::ConfigMap => {
            let object = ConfigMap::decode(object).ok()?;
            (object.metadata, object.binary_data)
        }
        Resource::Secret => {
            let object = Secret::decode(object).ok()?;
            (object.metadata, object.data)
        }
    };
    let ours = data.into_iter().find(|pair| pair.key == SEGMENT_KEY);
    Some(Segment {
        name: metadata.unwrap_or_default().name,
        bytes: ours.unwrap_or_default().value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_head_carries_all_of_its_metadata_or_goes_another_way() {
        let bytes = Bytes::from_static(b"head");
        let mut fields = json!({
            "name": "b",
            "namespace": "n",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "ours": "1", "theirs": "2" },
            "annotations": { "a": "3" },
        });
        let body = |fields: &serde_json::Value, resource| {
            let metadata = serde_json::from_value(fields.clone()).unwrap();
            head_body(resource, &metadata, &bytes)
        };
        let pair = |key: &str, value: &'static str| Pair {
            key: key.to_owned(),
            value: Bytes::from_static(value.as_bytes()),
        };
        let expected = ObjectMeta {
            name: "b".to_owned(),
            namespace: "n".to_owned(),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            labels: vec![pair("ours", "1"), pair("theirs", "2")],
            annotations: vec![pair("a", "3")],
            owner_references: Vec::new(),
            managed_fields: vec![ManagedFields {}],
        };
        let raw = open(&body(&fields, Resource::ConfigMap).unwrap()).unwrap();
        let map = ConfigMap::decode(raw).unwrap();
        assert_eq!(map.metadata.as_ref(), Some(&expected));
        assert_eq!(map.binary_data, [pair(HEAD_KEY, "head")]);
        let raw = open(&body(&fields, Resource::Secret).unwrap()).unwrap();
        let secret = Secret::decode(raw).unwrap();
        assert_eq!(secret.metadata, Some(expected));
        assert_eq!(secret.data, [pair(HEAD_KEY, "head")]);
        for field in ["finalizers", "ownerReferences", "generateName", "new"] {
            fields[field] = json!([]);
            assert!(body(&fields, Resource::ConfigMap).is_none(), "{field}");
            fields.as_object_mut().unwrap().remove(field);
        }
    }
}
