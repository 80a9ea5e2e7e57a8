//! ConfigMaps, Secrets and Statuses as protobuf, by way of their JSON: the messages of
//! `k8s.io/api/core/v1/generated.proto` and `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
//!
//! They are written down here once more, so that a client with a mistake in its own is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// The media type.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

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

/// An entry of a map.
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
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "4")]
    self_link: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(message, optional, tag = "8")]
    creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(message, repeated, tag = "11")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "12")]
    annotations: Vec<Pair>,
    #[prost(message, repeated, tag = "13")]
    owner_references: Vec<OwnerReference>,
    #[prost(string, repeated, tag = "14")]
    finalizers: Vec<String>,
    #[prost(message, repeated, tag = "17")]
    managed_fields: Vec<ManagedFields>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// Understood as far as clients write it: the one without any field.
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
    #[prost(bool, optional, tag = "6")]
    controller: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    block_owner_deletion: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "2")]
    data: Vec<Pair>,
    #[prost(message, repeated, tag = "3")]
    binary_data: Vec<Pair>,
    #[prost(bool, optional, tag = "4")]
    immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialObjectMetadata {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct WatchEvent {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, optional, tag = "2")]
    object: Option<RawExtension>,
}

#[derive(Clone, PartialEq, Message)]
struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "2")]
    data: Vec<Pair>,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct ListMeta {
    #[prost(string, tag = "2")]
    resource_version: String,
    #[prost(string, tag = "3")]
    continue_token: String,
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ListMeta>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    items: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    status: String,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(message, optional, tag = "5")]
    details: Option<StatusDetails>,
    #[prost(int32, tag = "6")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusDetails {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(int32, tag = "5")]
    retry_after_seconds: i32,
}

/// The kind of an object. `None`: it is none.
pub(crate) fn kind_of(body: &Bytes) -> Option<String> {
    let unknown = Unknown::decode(body.slice_ref(body.strip_prefix(MAGIC)?)).ok()?;
    Some(unknown.type_meta?.kind)
}

/// The JSON of an object that was sent. `None`: it is no such object.
pub(crate) fn to_json(kind: Kind, body: &Bytes) -> Option<Value> {
    let unknown = Unknown::decode(body.slice_ref(body.strip_prefix(MAGIC)?)).ok()?;
    let type_meta = unknown.type_meta?;
    let mut object = match kind {
        Kind::ConfigMap => config_map_json(ConfigMap::decode(unknown.raw).ok()?),
        Kind::Secret => secret_json(Secret::decode(unknown.raw).ok()?),
        Kind::Namespace => return None,
    };
    object.insert("apiVersion".to_owned(), type_meta.api_version.into());
    object.insert("kind".to_owned(), type_meta.kind.into());
    Some(Value::Object(object))
}

/// The JSON of the metadata of an object that was answered without the rest.
pub(crate) fn metadata_of(answer: &Bytes) -> Option<Value> {
    let unknown = Unknown::decode(answer.slice_ref(answer.strip_prefix(MAGIC)?)).ok()?;
    let object = PartialObjectMetadata::decode(unknown.raw).ok()?;
    object.metadata.map(metadata_json)
}

fn config_map_json(object: ConfigMap) -> Map<String, Value> {
    let mut json = Map::new();
    set(&mut json, "metadata", object.metadata.map(metadata_json));
    set(&mut json, "data", map_json(&object.data, text));
    set(
        &mut json,
        "binaryData",
        map_json(&object.binary_data, base64),
    );
    set(&mut json, "immutable", object.immutable.map(Value::from));
    json
}

fn secret_json(object: Secret) -> Map<String, Value> {
    let mut json = Map::new();
    set(&mut json, "metadata", object.metadata.map(metadata_json));
    set(&mut json, "data", map_json(&object.data, base64));
    set(&mut json, "type", text_json(object.kind));
    set(&mut json, "immutable", object.immutable.map(Value::from));
    json
}

fn metadata_json(metadata: ObjectMeta) -> Value {
    let owners = metadata.owner_references.iter().map(owner_json);
    let owners: Vec<Value> = owners.collect();
    let mut json = Map::new();
    set(&mut json, "name", text_json(metadata.name));
    set(&mut json, "generateName", text_json(metadata.generate_name));
    set(&mut json, "namespace", text_json(metadata.namespace));
    set(&mut json, "selfLink", text_json(metadata.self_link));
    set(&mut json, "uid", text_json(metadata.uid));
    set(
        &mut json,
        "resourceVersion",
        text_json(metadata.resource_version),
    );
    let time_json = |time: Time| {
        let time = Timestamp::from_second(time.seconds).ok()?;
        Some(time.to_string().into())
    };
    let created = metadata.creation_timestamp.and_then(time_json);
    set(&mut json, "creationTimestamp", created);
    let deleted = metadata.deletion_timestamp.and_then(time_json);
    set(&mut json, "deletionTimestamp", deleted);
    set(&mut json, "labels", map_json(&metadata.labels, text));
    set(
        &mut json,
        "annotations",
        map_json(&metadata.annotations, text),
    );
    set(
        &mut json,
        "ownerReferences",
        (!owners.is_empty()).then(|| owners.into()),
    );
    let finalizers = metadata.finalizers;
    set(
        &mut json,
        "finalizers",
        (!finalizers.is_empty()).then(|| finalizers.into()),
    );
    let managed = metadata.managed_fields.iter().map(|_| json!({}));
    let managed: Vec<Value> = managed.collect();
    set(
        &mut json,
        "managedFields",
        (!managed.is_empty()).then(|| managed.into()),
    );
    Value::Object(json)
}

fn owner_json(owner: &OwnerReference) -> Value {
    let mut json = json!({
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    });
    if let Some(is) = owner.controller {
        json["controller"] = is.into();
    }
    if let Some(is) = owner.block_owner_deletion {
        json["blockOwnerDeletion"] = is.into();
    }
    json
}

fn set(json: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    json.extend(value.map(|value| (field.to_owned(), value)));
}

fn text_json(text: String) -> Option<Value> {
    (!text.is_empty()).then(|| text.into())
}

fn map_json(pairs: &[Pair], value: fn(&[u8]) -> String) -> Option<Value> {
    let entries = pairs
        .iter()
        .map(|pair| (pair.key.clone(), value(&pair.value).into()));
    (!pairs.is_empty()).then(|| Value::Object(entries.collect()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The body of an answer, from its JSON. `None`: there is no message for it here.
pub(crate) fn from_json(body: &[u8]) -> Option<Bytes> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let kind = body["kind"].as_str()?;
    let raw = match kind {
        "ConfigMapList" => list(&body, config_map),
        "SecretList" => list(&body, secret),
        "PartialObjectMetadataList" => list(&body, partial_metadata),
        "PartialObjectMetadata" => partial_metadata(&body),
        "ConfigMap" => config_map(&body),
        "Secret" => secret(&body),
        "Status" => status(&body),
        _ => return None,
    };
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: string(&body["apiVersion"]),
            kind: kind.to_owned(),
        }),
        raw: raw.into(),
    };
    Some([MAGIC, &unknown.encode_to_vec()].concat().into())
}

/// An event of a watch, behind its length.
pub(crate) fn event_frame(kind: &str, object: Bytes) -> Bytes {
    let event = WatchEvent {
        kind: kind.to_owned(),
        object: Some(RawExtension { raw: object }),
    };
    let length = event.encoded_len() as u32;
    Bytes::from([&length.to_be_bytes(), event.encode_to_vec().as_slice()].concat())
}

/// The kind and the object of the first event of a stream, and what comes after it. `None`: it is not
/// there as a whole.
pub(crate) fn first_event(stream: &Bytes) -> Option<(String, Bytes, Bytes)> {
    let length = u32::from_be_bytes(*stream.first_chunk()?) as usize;
    let end = length.checked_add(4).filter(|end| *end <= stream.len())?;
    let event = WatchEvent::decode(stream.slice(4..end)).ok()?;
    Some((event.kind, event.object?.raw, stream.slice(end..)))
}

fn partial_metadata(object: &Value) -> Vec<u8> {
    let message = PartialObjectMetadata {
        metadata: Some(metadata(&object["metadata"])),
    };
    message.encode_to_vec()
}

fn config_map(object: &Value) -> Vec<u8> {
    let message = ConfigMap {
        metadata: Some(metadata(&object["metadata"])),
        data: pairs(&object["data"], of_text),
        binary_data: pairs(&object["binaryData"], of_base64),
        immutable: object["immutable"].as_bool(),
    };
    message.encode_to_vec()
}

fn secret(object: &Value) -> Vec<u8> {
    let message = Secret {
        metadata: Some(metadata(&object["metadata"])),
        data: pairs(&object["data"], of_base64),
        kind: string(&object["type"]),
        immutable: object["immutable"].as_bool(),
    };
    message.encode_to_vec()
}

fn list(list: &Value, item: fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let items = list["items"].as_array();
    let message = List {
        metadata: Some(ListMeta {
            resource_version: string(&list["metadata"]["resourceVersion"]),
            continue_token: string(&list["metadata"]["continue"]),
        }),
        items: items
            .into_iter()
            .flatten()
            .map(|one| item(one).into())
            .collect(),
    };
    message.encode_to_vec()
}

fn status(status: &Value) -> Vec<u8> {
    let details = &status["details"];
    let number = |value: &Value| value.as_i64().unwrap_or_default() as i32;
    let message = Status {
        status: string(&status["status"]),
        message: string(&status["message"]),
        reason: string(&status["reason"]),
        details: details.is_object().then(|| StatusDetails {
            name: string(&details["name"]),
            kind: string(&details["kind"]),
            retry_after_seconds: number(&details["retryAfterSeconds"]),
        }),
        code: number(&status["code"]),
    };
    message.encode_to_vec()
}

fn metadata(metadata: &Value) -> ObjectMeta {
    let list = |field: &str| metadata[field].as_array().cloned().unwrap_or_default();
    let owner = |owner: &Value| OwnerReference {
        kind: string(&owner["kind"]),
        name: string(&owner["name"]),
        uid: string(&owner["uid"]),
        api_version: string(&owner["apiVersion"]),
        controller: owner["controller"].as_bool(),
        block_owner_deletion: owner["blockOwnerDeletion"].as_bool(),
    };
    let time = |field: &str| {
        let time: Timestamp = metadata[field].as_str()?.parse().ok()?;
        let seconds = time.as_second();
        Some(Time { seconds })
    };
    ObjectMeta {
        name: string(&metadata["name"]),
        generate_name: string(&metadata["generateName"]),
        creation_timestamp: time("creationTimestamp"),
        deletion_timestamp: time("deletionTimestamp"),
        namespace: string(&metadata["namespace"]),
        self_link: string(&metadata["selfLink"]),
        uid: string(&metadata["uid"]),
        resource_version: string(&metadata["resourceVersion"]),
        labels: pairs(&metadata["labels"], of_text),
        annotations: pairs(&metadata["annotations"], of_text),
        owner_references: list("ownerReferences").iter().map(owner).collect(),
        finalizers: list("finalizers").iter().map(string).collect(),
        managed_fields: list("managedFields")
            .iter()
            .map(|_| ManagedFields {})
            .collect(),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pairs(map: &Value, value: fn(&str) -> Bytes) -> Vec<Pair> {
    let entries = map.as_object().into_iter().flatten();
    let pair = |(key, text): (&String, &Value)| Pair {
        key: key.clone(),
        value: value(text.as_str().unwrap_or_default()),
    };
    entries.map(pair).collect()
}

fn of_text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn of_base64(text: &str) -> Bytes {
    STANDARD.decode(text).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_the_same_after_both_ways() {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "a",
                "generateName": "g-",
                "selfLink": "l",
                "namespace": "b",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-01T00:00:59Z",
                "labels": { "l": "1" },
                "annotations": { "a": "2" },
                "ownerReferences": [
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "name": "o",
                        "uid": "u",
                        "controller": true,
                        "blockOwnerDeletion": false,
                    },
                ],
                "finalizers": ["example.com/f"],
            },
            "data": { "t": "text" },
            "binaryData": { "b": "AP8H" },
            "immutable": true,
        });
        let encoded = from_json(object.to_string().as_bytes()).expect("a message");
        assert_eq!(to_json(Kind::ConfigMap, &encoded), Some(object));
        assert_eq!(to_json(Kind::ConfigMap, &encoded.slice(1..)), None);
    }
}
