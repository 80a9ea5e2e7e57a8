//! An object as it is kept, and how it is written out.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// One version of an object; it never changes.
#[derive(Debug)]
pub(crate) struct Object {
    kind: Kind,
    revision: u64,
    /// Without `kind` and `apiVersion`, which lists omit.
    value: Value,
    json: OnceLock<Bytes>,
}

impl Object {
    /// Takes over an object in normal form and stamps its version on it.
    pub(crate) fn new(kind: Kind, mut value: Value, revision: u64) -> Object {
        metadata_mut(&mut value).insert("resourceVersion".to_owned(), revision.to_string().into());
        Object {
            kind,
            revision,
            value,
            json: OnceLock::new(),
        }
    }

    /// An object that was not stored and so has no version.
    pub(crate) fn rehearsed(kind: Kind, value: Value) -> Object {
        Object {
            kind,
            revision: 0,
            value,
            json: OnceLock::new(),
        }
    }

    /// The same content at another version, as a deletion is reported.
    pub(crate) fn at(&self, revision: u64) -> Object {
        Object::new(self.kind, self.value.clone(), revision)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The object as a client sees it.
    pub(crate) fn to_full(&self) -> Value {
        let mut value = self.value.clone();
        value["kind"] = self.kind.name().into();
        value["apiVersion"] = "v1".into();
        value
    }

    pub(crate) fn namespace(&self) -> &str {
        self.text("namespace")
    }

    pub(crate) fn name(&self) -> &str {
        self.text("name")
    }

    pub(crate) fn uid(&self) -> &str {
        self.text("uid")
    }

    pub(crate) fn is_terminating(&self) -> bool {
        is_terminating(&self.value)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.value["metadata"]["labels"]
            .get(key)
            .and_then(Value::as_str)
    }

    fn text(&self, field: &str) -> &str {
        self.value["metadata"][field].as_str().unwrap_or_default()
    }

    /// How much room the object takes, roughly.
    pub(crate) fn weight(&self) -> usize {
        let maps = ["data", "binaryData"]
            .into_iter()
            .filter_map(|map| self.value[map].as_object());
        let values = maps.flat_map(|map| map.values()).filter_map(Value::as_str);
        512 + values.map(str::len).sum::<usize>()
    }

    /// The JSON of the object as a single answer.
    pub(crate) fn render(&self, metadata_only: bool) -> Bytes {
        if metadata_only {
            return headed(
                "PartialObjectMetadata",
                "meta.k8s.io/v1",
                &self.metadata_json(),
            );
        }
        headed(self.kind.name(), "v1", self.json())
    }

    /// The JSON of the object inside of a list; only metadata keeps its kind there.
    pub(crate) fn render_item(&self, metadata_only: bool) -> Bytes {
        if metadata_only {
            self.render(true)
        } else {
            self.json().clone()
        }
    }

    fn json(&self) -> &Bytes {
        self.json
            .get_or_init(|| Bytes::from(self.value.to_string()))
    }

    fn metadata_json(&self) -> Bytes {
        Bytes::from(json!({ "metadata": self.value["metadata"] }).to_string())
    }
}

/// Whether an object is marked for deletion.
pub(crate) fn is_terminating(value: &Value) -> bool {
    value["metadata"].get("deletionTimestamp").is_some()
}

/// Whether something holds an object back from deletion.
pub(crate) fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

/// Puts `kind` and `apiVersion` in front of the fields of a JSON object.
fn headed(kind: &str, version: &str, fields: &[u8]) -> Bytes {
    let head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",");
    let mut out = Vec::with_capacity(head.len() + fields.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&fields[1..]);
    Bytes::from(out)
}

/// The metadata of an object in the making; there is one in the normal form.
pub(crate) fn metadata_mut(value: &mut Value) -> &mut Map<String, Value> {
    let metadata = &mut value["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    match metadata {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// A text field of the metadata, empty when absent.
pub(crate) fn metadata_text<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Kind, Object};

    fn object() -> Object {
        Object::new(
            Kind::ConfigMap,
            json!({ "metadata": { "name": "a" }, "data": { "k": "v" } }),
            7,
        )
    }

    #[test]
    fn a_single_answer_names_its_kind() {
        let value: Value = serde_json::from_slice(&object().render(false)).expect("JSON");
        assert_eq!(value, object().to_full());
        assert_eq!(value["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn metadata_only_drops_the_data() {
        let value: Value = serde_json::from_slice(&object().render(true)).expect("JSON");
        assert_eq!(value["kind"], "PartialObjectMetadata");
        assert!(value.get("data").is_none());
    }
}
