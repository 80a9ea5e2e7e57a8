//! The rules for `metadata`.

use serde_json::{Map, Value};

use super::syntax;
use crate::kind::Kind;
use crate::status::Finding;

/// The most bytes that the keys and values of all annotations may take together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

pub(super) fn check(kind: Kind, metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_name(kind, metadata, &mut findings);
    if let Some(labels) = metadata["labels"].as_object() {
        check_labels(labels, &mut findings);
    }
    if let Some(annotations) = metadata["annotations"].as_object() {
        check_annotations(annotations, &mut findings);
    }
    if let Some(owners) = metadata["ownerReferences"].as_array() {
        check_owners(owners, &mut findings);
    }
    if let Some(finalizers) = metadata["finalizers"].as_array() {
        check_finalizers(finalizers, &mut findings);
    }
    findings
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn check_name(kind: Kind, metadata: &Value, findings: &mut Vec<Finding>) {
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        findings.push(Finding::required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    let complaint = match kind {
        Kind::Namespace => syntax::dns_label(name),
        Kind::ConfigMap | Kind::Secret => syntax::subdomain(name),
    };
    if let Some(why) = complaint {
        findings.push(Finding::invalid("metadata.name", &quoted(name), &why));
    }
}

fn check_labels(labels: &Map<String, Value>, findings: &mut Vec<Finding>) {
    for (key, value) in labels {
        if let Some(why) = syntax::qualified_name(key) {
            findings.push(Finding::invalid("metadata.labels", &quoted(key), &why));
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = syntax::label_value(value) {
            findings.push(Finding::invalid("metadata.labels", &quoted(value), &why));
        }
    }
}

fn check_annotations(annotations: &Map<String, Value>, findings: &mut Vec<Finding>) {
    let mut total = 0;
    for (key, value) in annotations {
        // The rule for annotation keys ignores their case.
        if let Some(why) = syntax::qualified_name(&key.to_lowercase()) {
            findings.push(Finding::invalid("metadata.annotations", &quoted(key), &why));
        }
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_LIMIT {
        findings.push(Finding::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
}

fn check_owners(owners: &[Value], findings: &mut Vec<Finding>) {
    for owner in owners {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                let version = field == "apiVersion";
                let why = if version {
                    "version must not be empty"
                } else {
                    "must not be empty"
                };
                findings.push(Finding::invalid(path, "\"\"", why));
            }
        }
    }
}

fn check_finalizers(finalizers: &[Value], findings: &mut Vec<Finding>) {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    for (at, finalizer) in finalizers.iter().enumerate() {
        let finalizer = finalizer.as_str().unwrap_or_default();
        if let Some(why) = syntax::qualified_name(finalizer) {
            findings.push(Finding::invalid(
                "metadata.finalizers",
                &quoted(finalizer),
                &why,
            ));
        } else if !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
            let path = format!("metadata.finalizers[{at}]");
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            findings.push(Finding::invalid(path, &quoted(finalizer), why));
        }
    }
}

pub(super) fn check_change(old: &Value, new: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for field in ["name", "namespace", "uid"] {
        if old.get(field) != new.get(field) {
            let value = new.get(field).map(Value::to_string).unwrap_or_default();
            let path = format!("metadata.{field}");
            findings.push(Finding::invalid(path, &value, "field is immutable"));
        }
    }
    findings.extend(check_new_finalizers(old, new));
    findings
}

/// An object that is being deleted takes no further finalizers.
fn check_new_finalizers(old: &Value, new: &Value) -> Option<Finding> {
    old.get("deletionTimestamp")?;
    let before = old["finalizers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let added: Vec<&Value> = new["finalizers"]
        .as_array()?
        .iter()
        .filter(|entry| !before.contains(entry))
        .collect();
    if added.is_empty() {
        return None;
    }
    let names: Vec<String> = added.into_iter().map(Value::to_string).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers \
         []string{{{}}}",
        names.join(", ")
    );
    Some(Finding::forbidden("metadata.finalizers", &why))
}
