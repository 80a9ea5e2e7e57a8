//! From a client's JSON to the normal form in which objects are kept and compared.
//!
//! The real server decodes into Go structs: unknown fields vanish, empty maps are left out, values
//! of a wrong type are refused. The normal form shows the same.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::kind::Kind;

/// Go's decoder ignores the unused bits of the last character.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

type Decoded<T> = std::result::Result<T, String>;

/// Says what is wrong with the `kind` and `apiVersion` of a body; both may be left out.
pub(crate) fn check_kind(kind: Kind, body: &Value) -> Decoded<()> {
    let claimed = body["kind"].as_str().unwrap_or(kind.name());
    let version = body["apiVersion"].as_str().unwrap_or("v1");
    if claimed == kind.name() && version == "v1" {
        return Ok(());
    }
    let why = match Kind::from_name(claimed).filter(|_| version == "v1") {
        Some(_) => format!("converting (v1.{claimed}) to (core.{kind}): unknown conversion"),
        None => format!(
            "no kind \"{claimed}\" is registered for version \"{version}\" in scheme \
             \"pkg/runtime/scheme.go:111\""
        ),
    };
    Err(format!(
        "{claimed} in version \"{version}\" cannot be handled as a {kind}: {why}"
    ))
}

/// The fields that the kind does not have, as strict validation reports them.
pub(crate) fn unknown_fields(kind: Kind, body: &Value) -> Vec<String> {
    let own: &[&str] = match kind {
        Kind::Namespace => &["spec", "status"],
        Kind::ConfigMap => &["data", "binaryData", "immutable"],
        Kind::Secret => &["data", "stringData", "immutable", "type"],
    };
    let known = |key: &str| ["apiVersion", "kind", "metadata"].contains(&key) || own.contains(&key);
    let keys = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect()
    };
    let metadata = keys(&body["metadata"]).into_iter();
    let metadata = metadata.filter(|key| key != "selfLink" && !METADATA.contains(&key.as_str()));
    let top = keys(body).into_iter().filter(|key| !known(key));
    metadata
        .map(|key| format!("metadata.{key}"))
        .chain(top)
        .collect()
}

/// Decodes an object of the kind, or says like the Go decoder why it can't.
pub(crate) fn decode(kind: Kind, value: Value) -> Decoded<Value> {
    let Value::Object(mut fields) = value else {
        return Err(mismatch(&value, kind.name(), "", "object"));
    };
    let mut out = Map::new();
    out.insert(
        "metadata".to_owned(),
        metadata(kind, fields.remove("metadata"))?,
    );
    match kind {
        Kind::Namespace => {
            keep(&mut out, "spec", fields.remove("spec"));
            keep(&mut out, "status", fields.remove("status"));
        }
        Kind::ConfigMap => {
            keep(
                &mut out,
                "data",
                texts(kind, "data", fields.remove("data"))?,
            );
            keep(
                &mut out,
                "binaryData",
                binaries(kind, "binaryData", fields.remove("binaryData"))?,
            );
            keep(
                &mut out,
                "immutable",
                boolean(kind, "immutable", fields.remove("immutable"))?,
            );
        }
        Kind::Secret => {
            keep(&mut out, "data", secret_data(&mut fields)?);
            keep(
                &mut out,
                "immutable",
                boolean(kind, "immutable", fields.remove("immutable"))?,
            );
            keep(
                &mut out,
                "type",
                fields.remove("type").or_else(|| Some("Opaque".into())),
            );
        }
    }
    Ok(Value::Object(out))
}

fn keep(out: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    let empty = match &value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    };
    if let (false, Some(value)) = (empty, value) {
        out.insert(field.to_owned(), value);
    }
}

fn metadata(kind: Kind, value: Option<Value>) -> Decoded<Value> {
    let mut fields = match value {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(fields)) => fields,
        Some(other) => return Err(mismatch(&other, kind.name(), ".metadata", "v1.ObjectMeta")),
    };
    let mut out = Map::new();
    for field in METADATA {
        let value = fields.remove(field);
        let path = format!("metadata.{field}");
        let value = match field {
            "labels" | "annotations" => texts(kind, &path, value)?,
            "managedFields" | "ownerReferences" | "finalizers" => array(kind, &path, value)?,
            "generation" | "deletionGracePeriodSeconds" => value.filter(Value::is_number),
            _ => text(kind, &path, value)?,
        };
        if field == "managedFields" && value.as_ref().is_some_and(Value::is_array) {
            // An empty list differs from none: it asks for a reset.
            out.insert(field.to_owned(), value.unwrap_or_default());
        } else {
            keep(&mut out, field, value);
        }
    }
    Ok(Value::Object(out))
}

fn text(kind: Kind, path: &str, value: Option<Value>) -> Decoded<Option<Value>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Value::String(text))),
        Some(other) => Err(mismatch(&other, kind.name(), &format!(".{path}"), "string")),
    }
}

fn array(kind: Kind, path: &str, value: Option<Value>) -> Decoded<Option<Value>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(Value::Array(list))),
        Some(other) => Err(mismatch(&other, kind.name(), &format!(".{path}"), "[]")),
    }
}

fn boolean(kind: Kind, path: &str, value: Option<Value>) -> Decoded<Option<Value>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(Value::Bool(flag))),
        Some(other) => Err(mismatch(&other, kind.name(), &format!(".{path}"), "bool")),
    }
}

fn entries(kind: Kind, path: &str, value: Option<Value>) -> Decoded<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(mismatch(
            &other,
            kind.name(),
            &format!(".{path}"),
            "map[string]string",
        )),
    }
}

fn texts(kind: Kind, path: &str, value: Option<Value>) -> Decoded<Option<Value>> {
    let mut map = entries(kind, path, value)?;
    for value in map.values_mut() {
        match value {
            Value::String(_) => {}
            Value::Null => *value = Value::String(String::new()),
            other => return Err(mismatch(other, kind.name(), &format!(".{path}"), "string")),
        }
    }
    Ok(Some(Value::Object(map)))
}

fn binaries(kind: Kind, path: &str, value: Option<Value>) -> Decoded<Option<Value>> {
    let mut map = entries(kind, path, value)?;
    for value in map.values_mut() {
        match value {
            Value::String(text) => canonical(text)?,
            Value::Null => *value = Value::String(String::new()),
            other => return Err(mismatch(other, kind.name(), &format!(".{path}"), "[]uint8")),
        }
    }
    Ok(Some(Value::Object(map)))
}

/// `stringData` is a way to write `data` without base64; it is never read back.
fn secret_data(fields: &mut Map<String, Value>) -> Decoded<Option<Value>> {
    let data = binaries(Kind::Secret, "data", fields.remove("data"))?;
    let extra = texts(Kind::Secret, "stringData", fields.remove("stringData"))?;
    let (Some(Value::Object(mut data)), Some(Value::Object(extra))) = (data, extra) else {
        return Ok(None);
    };
    for (key, value) in extra {
        let encoded = LENIENT.encode(value.as_str().unwrap_or_default());
        data.insert(key, Value::String(encoded));
    }
    Ok(Some(Value::Object(data)))
}

/// Brings base64 to the one form that the real server writes; Go's decoder skips line ends.
fn canonical(text: &mut String) -> Decoded<()> {
    if text.contains(['\r', '\n']) {
        text.retain(|c| c != '\r' && c != '\n');
    }
    if let Some(at) = first_odd_byte(text) {
        return Err(format!("illegal base64 data at input byte {at}"));
    }
    if text.ends_with('=') {
        // Only the last four characters can have unused bits.
        let last = text.split_off(text.len() - 4);
        let bytes = LENIENT.decode(last).map_err(|error| error.to_string())?;
        text.push_str(&LENIENT.encode(bytes));
    }
    Ok(())
}

/// Where Go's decoder would stop, if anywhere.
fn first_odd_byte(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let body = text.trim_end_matches('=');
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    if let Some(at) = body.bytes().position(|byte| !legal(&byte)) {
        return Some(at);
    }
    let padding = bytes.len() - body.len();
    let start = body.len() - body.len() % 4;
    let expected = match body.len() % 4 {
        0 => 0,
        _ if padding == 0 => return Some(start),
        2 => 2,
        3 => 1,
        _ => return Some(body.len()),
    };
    (padding != expected).then_some(bytes.len().min(body.len() + expected))
}

/// How many bytes a base64 text in its one form stands for.
pub(crate) fn decoded_len(text: &str) -> usize {
    let padding = text
        .bytes()
        .rev()
        .take(2)
        .filter(|byte| *byte == b'=')
        .count();
    text.len() / 4 * 3 - padding.min(text.len())
}

fn mismatch(value: &Value, kind: &str, path: &str, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let holder = if path.starts_with(".metadata.") {
        "ObjectMeta"
    } else {
        kind
    };
    format!("json: cannot unmarshal {found} into Go struct field {holder}{path} of type {wanted}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Kind, canonical, decode, decoded_len};

    #[test]
    fn unknown_and_empty_fields_vanish() {
        let value = json!({ "data": {}, "nonsense": 1, "metadata": { "name": "a", "x": 1 } });
        let decoded = decode(Kind::ConfigMap, value).expect("decodes");
        assert_eq!(decoded, json!({ "metadata": { "name": "a" } }));
    }

    #[test]
    fn string_data_becomes_data() {
        let value = json!({ "stringData": { "k": "v" }, "metadata": { "name": "a" } });
        let decoded = decode(Kind::Secret, value).expect("decodes");
        assert_eq!(decoded["data"], json!({ "k": "dg==" }));
        assert_eq!(decoded["type"], "Opaque");
    }

    #[test]
    fn wrong_types_are_refused() {
        let why = decode(Kind::ConfigMap, json!({ "data": { "k": 1 } })).err();
        let expected =
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
        assert_eq!(why.as_deref(), Some(expected));
    }

    #[test]
    fn base64_is_brought_to_one_form() {
        let mut text = "dh\n==".to_owned();
        canonical(&mut text).expect("legal");
        assert_eq!(text, "dg==");
        assert!(canonical(&mut "d".to_owned()).is_err());
        assert!(canonical(&mut "d*==".to_owned()).is_err());
        for (text, len) in [("", 0), ("dg==", 1), ("dmE=", 2), ("dmFs", 3)] {
            assert_eq!(decoded_len(text), len);
        }
    }
}
