//! The bodies of requests that write.

use bytes::Bytes;
use prost::Message;

use super::messages::{
    ConfigMap, MAGIC, ManagedFields, ObjectMeta, OwnerReference, Pair, Secret, TypeMeta, Unknown,
};
use crate::object::{HEAD_KEY, Metadata, OFFER_KEY, SEGMENT_KEY};
use crate::resource::Resource;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::read::open;
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
