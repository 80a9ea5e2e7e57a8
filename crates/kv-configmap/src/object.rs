use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::engine::ResourceVersion;
use crate::resource::Resource;
use kv_core::Result;

/// The key of the data under which a head is stored.
pub(crate) const HEAD_KEY: &str = "head";
/// The key of the data under which a segment is stored.
pub(crate) const SEGMENT_KEY: &str = "segment";

/// The key under which an offer is stored.
pub(crate) const OFFER_KEY: &str = "offer";

/// The metadata of an object, whole, so that what others put there survives our writes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Metadata(Map<String, Value>);

impl Metadata {
    pub(crate) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// The metadata of an object that is not yet there.
    pub(crate) fn named(name: &str, namespace: &str) -> Self {
        let fields = json!({ "name": name, "namespace": namespace });
        Self(fields.as_object().cloned().unwrap_or_default())
    }

    pub(crate) fn uid(&self) -> &str {
        self.text("uid")
    }

    pub(crate) fn resource_version(&self) -> Result<ResourceVersion> {
        self.text("resourceVersion").parse()
    }

    /// Whether the object was deleted and waits for its finalizers.
    pub(crate) fn is_terminating(&self) -> bool {
        self.0.contains_key("deletionTimestamp")
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.0.get("labels")?.get(name)?.as_str()
    }

    /// Lets a write replace whatever version is there.
    pub(crate) fn forget_version(&mut self) {
        self.0.remove("resourceVersion");
    }

    pub(crate) fn set_label(&mut self, name: &str, value: &str) {
        self.set("labels", name, value);
    }

    pub(crate) fn set_annotation(&mut self, name: &str, value: &str) {
        self.set("annotations", name, value);
    }

    pub(crate) fn name(&self) -> &str {
        self.text("name")
    }

    /// Lets the cluster remove the object when its owner is gone.
    pub(crate) fn set_owner(&mut self, resource: Resource, owner: &Self) {
        let owner = json!([{
            "apiVersion": "v1",
            "kind": resource.kind(),
            "name": owner.name(),
            "uid": owner.uid(),
        }]);
        self.0.insert("ownerReferences".to_owned(), owner);
    }

    /// Whether the cluster keeps the object as long as `owner` is there.
    pub(crate) fn is_kept_with(&self, owner: &Self) -> bool {
        let owners = self.0.get("ownerReferences").and_then(Value::as_array);
        let is_owner = |reference: &Value| reference["uid"] == owner.uid();
        let is_owned = owners.is_none_or(|all| all.is_empty() || all.iter().any(is_owner));
        is_owned && !self.is_terminating()
    }

    /// Whether there are no fields but these.
    pub(crate) fn has_only(&self, fields: &[&str]) -> bool {
        self.0.keys().all(|field| fields.contains(&field.as_str()))
    }

    /// Asks the server to forget who wrote which field: it repeats every key of the data, and a
    /// later write does not add it again.
    pub(crate) fn reset_managed_fields(&mut self) {
        self.0.insert("managedFields".to_owned(), json!([{}]));
    }

    /// The texts in a field by key: `labels`, `annotations`.
    pub(crate) fn texts(&self, field: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.get(field).and_then(Value::as_object);
        let entries = entries.into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The names and uids of the owners.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (&str, &str)> {
        let owners = self.0.get("ownerReferences").and_then(Value::as_array);
        let owners = owners.into_iter().flatten();
        owners.filter_map(|owner| Some((owner["name"].as_str()?, owner["uid"].as_str()?)))
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn set(&mut self, field: &str, name: &str, value: &str) {
        let entries = self.0.entry(field).or_insert_with(|| json!({}));
        if !entries.is_object() {
            *entries = json!({});
        }
        entries[name] = Value::from(value);
    }
}

/// A ConfigMap or Secret as the server shows it.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) metadata: Metadata,
    pub(crate) is_immutable: bool,
    /// What is in the field that holds our data, by key.
    pub(crate) data: BTreeMap<String, Bytes>,
    /// The keys in the field that must be empty.
    pub(crate) other_keys: Vec<String>,
}

impl Object {
    /// How many bytes the data has.
    pub(crate) fn bytes(&self) -> usize {
        self.data.values().map(Bytes::len).sum()
    }

    /// The keys of the data other than `expected`.
    pub(crate) fn unexpected_keys(&self, expected: &str) -> impl Iterator<Item = &str> {
        let ours = self.data.keys().filter(move |key| *key != expected);
        ours.chain(&self.other_keys).map(String::as_str)
    }

    /// The bytes under a key.
    pub(crate) fn data(&self, key: &str) -> Option<&Bytes> {
        self.data.get(key)
    }
}

/// Values by key; only ours have to be text.
type JsonData = Option<BTreeMap<String, Value>>;

/// An object in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonObject {
    metadata: Metadata,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: JsonData,
    #[serde(default)]
    binary_data: JsonData,
}

impl JsonObject {
    pub(crate) fn into_object(self, resource: Resource) -> Object {
        let (ours, others) = match resource {
            Resource::ConfigMap => (self.binary_data, self.data),
            Resource::Secret => (self.data, self.binary_data),
        };
        // What is no base64, no API server shows.
        let decode = |(key, text): (String, Value)| {
            let bytes = STANDARD.decode(text.as_str()?).ok()?;
            Some((key, Bytes::from(bytes)))
        };
        let ours = ours.into_iter().flatten();
        Object {
            metadata: self.metadata,
            is_immutable: self.immutable.unwrap_or_default(),
            data: ours.filter_map(decode).collect(),
            other_keys: others.into_iter().flatten().map(|(key, _)| key).collect(),
        }
    }
}

/// The body of a request that writes a head.
pub(crate) fn head_body(resource: Resource, metadata: &Metadata, head: &[u8]) -> Bytes {
    let metadata = Value::Object(metadata.0.clone());
    let (kind, field) = (resource.kind(), resource.data_field());
    // Base64 needs no escaping, so that a megabyte of it need not go through a JSON writer.
    let mut body = format!(
        r#"{{"apiVersion":"v1","kind":"{kind}","metadata":{metadata},"{field}":{{"{HEAD_KEY}":""#
    );
    body.reserve(head.len() / 3 * 4 + 8);
    STANDARD.encode_string(head, &mut body);
    body.push_str("\"}}");
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_body_reads_as_the_object() {
        let mut metadata = Metadata::named("b", "n");
        metadata.set_label("kept", "\"quoted\"");
        for resource in [Resource::ConfigMap, Resource::Secret] {
            let bytes = head_body(resource, &metadata, &[0, 255, 7]);
            let object: JsonObject = serde_json::from_slice(&bytes).unwrap();
            let object = object.into_object(resource);
            assert_eq!(object.data(HEAD_KEY).unwrap(), [0, 255, 7].as_slice());
            assert_eq!(object.metadata, metadata);
            assert_eq!(object.unexpected_keys(HEAD_KEY).next(), None);
        }
    }
}
