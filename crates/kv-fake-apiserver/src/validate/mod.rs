//! What an object must look like to be stored.

mod data;
mod metadata;
pub(crate) mod syntax;

use serde_json::Value;

use crate::kind::Kind;
use crate::status::{Finding, Result, invalid};

/// Checks an object by itself.
pub(crate) fn object(kind: Kind, value: &Value) -> Result<()> {
    let mut findings = metadata::check(kind, &value["metadata"]);
    data::check(kind, value, &mut findings);
    verdict(kind, value, findings)
}

/// Checks an object against the version that it replaces.
pub(crate) fn change(kind: Kind, old: &Value, new: &Value) -> Result<()> {
    let mut findings = metadata::check_change(&old["metadata"], &new["metadata"]);
    data::check_change(kind, old, new, &mut findings);
    findings.extend(metadata::check(kind, &new["metadata"]));
    data::check(kind, new, &mut findings);
    verdict(kind, new, findings)
}

fn verdict(kind: Kind, value: &Value, findings: Vec<Finding>) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    Err(invalid(
        kind,
        value["metadata"]["name"].as_str().unwrap_or_default(),
        findings,
    ))
}
