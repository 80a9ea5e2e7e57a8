//! The rules for what a ConfigMap or a Secret carries.

use serde_json::Value;

use super::syntax;
use crate::decode::decoded_len;
use crate::kind::Kind;
use crate::status::Finding;

/// The most bytes that all values together may have; keys and base64 do not count.
const DATA_LIMIT: usize = 1024 * 1024;

pub(super) fn check(kind: Kind, value: &Value, findings: &mut Vec<Finding>) {
    match kind {
        Kind::Namespace => {}
        Kind::ConfigMap => check_config_map(value, findings),
        Kind::Secret => check_secret(value, findings),
    }
}

fn check_config_map(value: &Value, findings: &mut Vec<Finding>) {
    let mut total = 0;
    let binary = &value["binaryData"];
    for (key, text) in value["data"].as_object().into_iter().flatten() {
        check_key("data", key, findings);
        if binary.get(key).is_some() {
            let why = "duplicate of key present in binaryData";
            findings.push(Finding::invalid(
                field("data", key),
                &format!("{key:?}"),
                why,
            ));
        }
        total += text.as_str().map_or(0, str::len);
    }
    for (key, text) in binary.as_object().into_iter().flatten() {
        check_key("binaryData", key, findings);
        total += text.as_str().map_or(0, decoded_len);
    }
    if total > DATA_LIMIT {
        findings.push(Finding::too_long("[]", DATA_LIMIT));
    }
}

fn check_secret(value: &Value, findings: &mut Vec<Finding>) {
    let mut total = 0;
    for (key, text) in value["data"].as_object().into_iter().flatten() {
        check_key("data", key, findings);
        total += text.as_str().map_or(0, decoded_len);
    }
    if total > DATA_LIMIT {
        findings.push(Finding::too_long("data", DATA_LIMIT));
    }
}

fn field(map: &str, key: &str) -> String {
    format!("{map}[{key}]")
}

fn check_key(map: &str, key: &str, findings: &mut Vec<Finding>) {
    if let Some(why) = syntax::config_key(key) {
        findings.push(Finding::invalid(field(map, key), &format!("{key:?}"), &why));
    }
}

/// What an `immutable` object, and the type of a Secret, do not allow.
pub(super) fn check_change(kind: Kind, old: &Value, new: &Value, findings: &mut Vec<Finding>) {
    if kind == Kind::Secret && old["type"] != new["type"] {
        let value = new["type"].to_string();
        findings.push(Finding::invalid("type", &value, "field is immutable"));
    }
    if old["immutable"] != true {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            findings.push(Finding::forbidden(field, why));
        }
    }
}
