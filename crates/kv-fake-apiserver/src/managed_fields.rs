//! `metadata.managedFields`: who wrote which field.
//!
//! Two habits of the real server matter to its clients. Each create adds an entry, which repeats
//! every data key. And once an entry `[{}]` has stripped the list, ordinary updates never fill it
//! again.

use serde_json::{Map, Value, json};

use crate::object::metadata_mut;

const FIELD: &str = "managedFields";

/// Records the creator of an object.
pub(crate) fn on_create(value: &mut Value, manager: &str, now: &str) {
    let fields = owned(value);
    metadata_mut(value).remove(FIELD);
    if fields.as_object().is_none_or(Map::is_empty) {
        return;
    }
    metadata_mut(value).insert(FIELD.to_owned(), json!([entry(manager, now, &fields)]));
}

/// Records the writer of a change, or strips the list when the writer asks for it.
pub(crate) fn on_update(old: &Value, new: &mut Value, manager: &str, now: &str) {
    let before = &old["metadata"][FIELD];
    let asked = metadata_mut(new).remove(FIELD);
    if asked.as_ref().is_some_and(is_reset) || !before.is_array() {
        return;
    }
    let entries = match asked {
        Some(Value::Array(entries)) => entries,
        _ => before.as_array().cloned().unwrap_or_default(),
    };
    let (before, after) = (owned(old), owned(new));
    let mut entries = without(entries, &gone(&before, &after));
    let changed = changed(old, new, &after);
    if changed.as_object().is_some_and(|map| !map.is_empty()) {
        entries = without(entries, &changed);
        add(&mut entries, manager, now, changed);
    }
    entries.retain(|entry| {
        entry["fieldsV1"]
            .as_object()
            .is_none_or(|map| !map.is_empty())
    });
    if !entries.is_empty() {
        metadata_mut(new).insert(FIELD.to_owned(), Value::Array(entries));
    }
}

/// `[{}]`, or an empty list.
fn is_reset(asked: &Value) -> bool {
    match asked.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

fn entry(manager: &str, now: &str, fields: &Value) -> Value {
    json!({
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    })
}

fn add(entries: &mut Vec<Value>, manager: &str, now: &str, fields: Value) {
    let own = |entry: &&mut Value| entry["manager"] == manager && entry["operation"] == "Update";
    if let Some(entry) = entries.iter_mut().find(own) {
        unite(&mut entry["fieldsV1"], fields);
        entry["time"] = now.into();
    } else {
        entries.push(entry(manager, now, &fields));
    }
}

/// The tree of the fields that an object has, in the notation of `fieldsV1`.
fn owned(value: &Value) -> Value {
    let mut tree = Map::new();
    for field in ["data", "binaryData", "immutable", "type"] {
        if let Some(value) = value.get(field) {
            tree.insert(format!("f:{field}"), subtree(value));
        }
    }
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
        if let Some(value) = value["metadata"].get(field) {
            metadata.insert(format!("f:{field}"), subtree(value));
        }
    }
    if !metadata.is_empty() {
        tree.insert("f:metadata".to_owned(), Value::Object(metadata));
    }
    Value::Object(tree)
}

fn subtree(value: &Value) -> Value {
    let mut tree = Map::new();
    match value {
        Value::Object(map) => {
            tree.insert(".".to_owned(), json!({}));
            tree.extend(map.keys().map(|key| (format!("f:{key}"), json!({}))));
        }
        Value::Array(list) => {
            tree.insert(".".to_owned(), json!({}));
            tree.extend(list.iter().map(|item| (list_key(item), json!({}))));
        }
        _ => {}
    }
    Value::Object(tree)
}

fn list_key(item: &Value) -> String {
    match item.get("uid") {
        Some(uid) => format!("k:{{\"uid\":{uid}}}"),
        None => format!("v:{item}"),
    }
}

/// The fields of `before` that are not in `after`.
fn gone(before: &Value, after: &Value) -> Value {
    let mut tree = Map::new();
    for (key, below) in before.as_object().into_iter().flatten() {
        match after.get(key) {
            None => drop(tree.insert(key.clone(), below.clone())),
            Some(after) => {
                let below = gone(below, after);
                if below.as_object().is_some_and(|map| !map.is_empty()) {
                    tree.insert(key.clone(), below);
                }
            }
        }
    }
    Value::Object(tree)
}

/// The fields of `after` whose values differ from the old object's.
fn changed(old: &Value, new: &Value, after: &Value) -> Value {
    let mut tree = Map::new();
    for (key, below) in after.as_object().into_iter().flatten() {
        let (before, now) = (child(old, key), child(new, key));
        if before == now {
            continue;
        }
        let both = before.zip(now).filter(|(_, now)| now.is_object());
        let below = both.map_or_else(|| below.clone(), |(old, new)| changed(old, new, below));
        if both.is_none() || !is_leaf(&below) {
            tree.insert(key.clone(), below);
        }
    }
    Value::Object(tree)
}

fn child<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match key.split_at_checked(2) {
        Some(("f:", name)) => value.get(name),
        _ => None,
    }
}

/// Takes fields away from every entry.
fn without(mut entries: Vec<Value>, fields: &Value) -> Vec<Value> {
    for entry in &mut entries {
        subtract(&mut entry["fieldsV1"], fields);
    }
    entries
}

fn subtract(tree: &mut Value, fields: &Value) {
    let Value::Object(tree) = tree else { return };
    for (key, below) in fields.as_object().into_iter().flatten() {
        let Some(Value::Object(inner)) = tree.get_mut(key) else {
            continue;
        };
        let whole = is_leaf(below) || (inner.is_empty() && below.get(".").is_some());
        if inner.is_empty() && !whole {
            continue;
        }
        if !whole {
            let mut rest = Value::Object(std::mem::take(inner));
            subtract(&mut rest, below);
            *inner = rest.as_object().cloned().unwrap_or_default();
        }
        if whole || inner.is_empty() {
            tree.remove(key);
        } else if inner.len() == 1 && inner.contains_key(".") {
            // A field without known children is written as a leaf.
            inner.clear();
        }
    }
}

fn is_leaf(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

fn unite(tree: &mut Value, fields: Value) {
    let (Value::Object(tree), Value::Object(fields)) = (tree, fields) else {
        return;
    };
    for (key, below) in fields {
        let Some(inner) = tree.get_mut(&key) else {
            tree.insert(key, below);
            continue;
        };
        if key == "." || (is_leaf(inner) && is_leaf(&below)) {
            continue;
        }
        if is_leaf(inner) || is_leaf(&below) {
            inner["."] = json!({});
        }
        unite(inner, below);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{on_create, on_update};

    fn updated(old: &Value, change: Value) -> Value {
        let mut new = old.clone();
        crate::patch::PatchKind::Merge.apply(&mut new, change);
        on_update(old, &mut new, "second", "later");
        new
    }

    fn created() -> Value {
        let mut value = json!({ "metadata": { "name": "a" }, "data": { "k": "1", "l": "2" } });
        on_create(&mut value, "first", "now");
        value
    }

    #[test]
    fn a_creation_repeats_the_keys() {
        let fields = &created()["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(
            *fields,
            json!({ "f:data": { ".": {}, "f:k": {}, "f:l": {} } })
        );
    }

    #[test]
    fn a_changed_field_changes_hands() {
        let value = updated(&created(), json!({ "data": { "k": "3" } }));
        let entries = &value["metadata"]["managedFields"];
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({ "f:data": { ".": {}, "f:l": {} } })
        );
        assert_eq!(entries[1]["manager"], "second");
        assert_eq!(entries[1]["fieldsV1"], json!({ "f:data": { "f:k": {} } }));
    }

    #[test]
    fn a_reset_lasts() {
        let stripped = updated(&created(), json!({ "metadata": { "managedFields": [{}] } }));
        assert!(stripped["metadata"].get("managedFields").is_none());
        let value = updated(&stripped, json!({ "data": { "k": "4" } }));
        assert!(value["metadata"].get("managedFields").is_none());
    }
}
