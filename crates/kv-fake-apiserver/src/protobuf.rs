//! ConfigMaps, Secrets and Statuses as protobuf, by way of their JSON: the messages of
//! `k8s.io/api/core/v1/generated.proto` and `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
//!
//! They are written down here once more, so that a client with a mistake in its own is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
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
    #[prost(string, repeated, tag = "14")]
    finalizers: Vec<String>,
    #[prost(message, repeated, tag = "17")]
    managed_fields: Vec<ManagedFields>,
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
    let owners = metadata.owner_references.iter().map(|owner| {
        json!({
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.name,
            "uid": owner.uid,
        })
    });
    let owners: Vec<Value> = owners.collect();
    let mut json = Map::new();
    set(&mut json, "name", text_json(metadata.name));
    set(&mut json, "namespace", text_json(metadata.namespace));
    set(&mut json, "uid", text_json(metadata.uid));
    set(
        &mut json,
        "resourceVersion",
        text_json(metadata.resource_version),
    );
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
        "ConfigMap" => config_map(&body),
        "Secret" => secret(&body),
        "Status" => status(&body),
        _ => return None,
    };
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
        }),
        raw: raw.into(),
    };
    Some([MAGIC, &unknown.encode_to_vec()].concat().into())
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
    };
    ObjectMeta {
        name: string(&metadata["name"]),
        namespace: string(&metadata["namespace"]),
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
                "namespace": "b",
                "labels": { "l": "1" },
                "annotations": { "a": "2" },
                "ownerReferences": [
                    { "apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u" },
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
