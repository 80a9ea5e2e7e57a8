//! The patches that the server applies.

use serde_json::{Map, Value};

/// How the body of a PATCH changes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 7386.
    Merge,
    /// The same for maps; lists are merged by key, and `$patch` gives directives.
    Strategic,
}

impl PatchKind {
    pub(crate) fn from_media_type(media_type: &str) -> Option<PatchKind> {
        match media_type {
            "application/merge-patch+json" => Some(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Some(PatchKind::Strategic),
            _ => None,
        }
    }

    /// Applies a patch.
    pub(crate) fn apply(self, target: &mut Value, patch: Value) {
        match self {
            PatchKind::Merge => merge(target, patch),
            PatchKind::Strategic => strategic(target, patch),
        }
    }
}

fn object_mut(target: &mut Value) -> &mut Map<String, Value> {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    match target {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    let target = object_mut(target);
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The list fields of these kinds, with the key by which their entries are merged.
fn merge_key(field: &str) -> Option<&'static str> {
    (field == "ownerReferences").then_some("uid")
}

fn strategic(target: &mut Value, patch: Value) {
    let Value::Object(mut patch) = patch else {
        *target = patch;
        return;
    };
    let target = object_mut(target);
    if patch
        .remove("$patch")
        .is_some_and(|directive| directive == "replace")
    {
        target.clear();
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Array(entries) => merge_list(target, key, entries),
            value => strategic(target.entry(key).or_insert(Value::Null), value),
        }
    }
}

fn merge_list(target: &mut Map<String, Value>, field: String, entries: Vec<Value>) {
    if let Some(gone) = field.strip_prefix("$deleteFromPrimitiveList/") {
        if let Some(Value::Array(list)) = target.get_mut(gone) {
            list.retain(|entry| !entries.contains(entry));
        }
        return;
    }
    let (key, additive) = (merge_key(&field), field == "finalizers");
    if key.is_none() && !additive {
        target.insert(field, Value::Array(entries));
        return;
    }
    let list = target
        .entry(field)
        .or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(list) = list else { return };
    for entry in entries {
        let same = |old: &Value| match key {
            Some(key) => old[key] == entry[key],
            None => *old == entry,
        };
        let found = list.iter().position(same);
        match (found, entry["$patch"] == "delete") {
            (Some(at), true) => drop(list.remove(at)),
            (Some(at), false) => strategic(&mut list[at], entry),
            (None, true) => {}
            (None, false) => list.push(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PatchKind;

    #[test]
    fn null_removes_in_both() {
        for kind in [PatchKind::Merge, PatchKind::Strategic] {
            let mut target = json!({ "data": { "a": "1", "b": "2" } });
            kind.apply(&mut target, json!({ "data": { "a": null, "c": "3" } }));
            assert_eq!(target, json!({ "data": { "b": "2", "c": "3" } }));
        }
    }

    #[test]
    fn lists_are_replaced_by_merge_and_merged_by_strategic() {
        let old = json!({ "ownerReferences": [{ "uid": "1", "name": "a" }] });
        let patch = json!({ "ownerReferences": [{ "uid": "2", "name": "b" }] });
        let mut merged = old.clone();
        PatchKind::Merge.apply(&mut merged, patch.clone());
        assert_eq!(merged, patch);
        let mut merged = old;
        PatchKind::Strategic.apply(&mut merged, patch);
        assert_eq!(merged["ownerReferences"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn directives_replace_and_delete() {
        let mut target = json!({ "data": { "a": "1" }, "finalizers": ["x", "y"] });
        let patch = json!({
            "data": { "$patch": "replace", "b": "2" },
            "$deleteFromPrimitiveList/finalizers": ["x"],
        });
        PatchKind::Strategic.apply(&mut target, patch);
        assert_eq!(target, json!({ "data": { "b": "2" }, "finalizers": ["y"] }));
    }
}
