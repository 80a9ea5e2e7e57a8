//! Label and field selectors.

use kube::core::Status;

use crate::object::Object;
use crate::query::Query;
use crate::status::{Result, bad_request};
use crate::validate::syntax;

/// Which objects of a collection a request means.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(Field, bool, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    GreaterThan(String, i64),
    LessThan(String, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
}

impl Selector {
    pub(crate) fn parse(query: &Query) -> Result<Selector> {
        let labels = query.get("labelSelector").unwrap_or_default();
        let fields = query.get("fieldSelector").unwrap_or_default();
        Ok(Selector {
            labels: parse_labels(labels)?,
            fields: parse_fields(fields)?,
        })
    }

    /// Whether every object matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        let labels = self
            .labels
            .iter()
            .all(|requirement| requirement.matches(object));
        labels
            && self.fields.iter().all(|(field, equal, value)| {
                let found = match field {
                    Field::Name => object.name(),
                    Field::Namespace => object.namespace(),
                };
                (found == value) == *equal
            })
    }

    /// The one name it selects, which authorization treats as the name in a URL.
    pub(crate) fn single_name(&self) -> Option<&str> {
        self.fields.iter().find_map(|(field, equal, value)| {
            (*field == Field::Name && *equal).then_some(value.as_str())
        })
    }
}

impl Requirement {
    fn matches(&self, object: &Object) -> bool {
        match self {
            Requirement::In(key, values) => object
                .label(key)
                .is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::NotIn(key, values) => object
                .label(key)
                .is_none_or(|value| values.iter().all(|v| v != value)),
            Requirement::Exists(key) => object.label(key).is_some(),
            Requirement::Absent(key) => object.label(key).is_none(),
            Requirement::GreaterThan(key, bound) => object
                .label(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > *bound),
            Requirement::LessThan(key, bound) => object
                .label(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < *bound),
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    split_outside_parentheses(text)
        .into_iter()
        .map(|part| requirement(part.trim()))
        .collect()
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement> {
    let refuse = || bad_request(format!("unable to parse requirement: found '{text}'"));
    for (word, negated) in [(" notin ", true), (" in ", false)] {
        if let Some((key, values)) = text.split_once(word) {
            let values = values
                .trim()
                .strip_prefix('(')
                .and_then(|v| v.strip_suffix(')'));
            let values = values.ok_or_else(refuse)?.split(',');
            let values: Result<_> = values.map(checked_value).collect();
            return Ok(one_of(checked_key(key)?, values?, negated));
        }
    }
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = text.split_once(operator) {
            return Ok(one_of(
                checked_key(key)?,
                vec![checked_value(value)?],
                negated,
            ));
        }
    }
    for (operator, less) in [("<", true), (">", false)] {
        if let Some((key, bound)) = text.split_once(operator) {
            let bound = bound.trim().parse().map_err(|_| refuse())?;
            let compare = if less {
                Requirement::LessThan
            } else {
                Requirement::GreaterThan
            };
            return Ok(compare(checked_key(key)?, bound));
        }
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(checked_key(key)?)),
        None => Ok(Requirement::Exists(checked_key(text)?)),
    }
}

fn one_of(key: String, values: Vec<String>, negated: bool) -> Requirement {
    if negated {
        Requirement::NotIn(key, values)
    } else {
        Requirement::In(key, values)
    }
}

fn checked_key(key: &str) -> Result<String> {
    checked(key.trim(), "<nil>", syntax::qualified_name)
}

fn checked_value(value: &str) -> Result<String> {
    checked(value.trim(), "values", syntax::label_value)
}

fn checked(text: &str, field: &str, check: fn(&str) -> Option<String>) -> Result<String> {
    let Some(why) = check(text) else {
        return Ok(text.to_owned());
    };
    let why = format!("unable to parse requirement: {field}: Invalid value: {text:?}: {why}");
    Err(bad_request(why))
}

fn parse_fields(text: &str) -> Result<Vec<(Field, bool, String)>> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(field_requirement).collect()
}

fn field_requirement(text: &str) -> Result<(Field, bool, String)> {
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((field, value)) = text.split_once(operator) {
            let field = match field {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                other => return Err(unknown_field(other)),
            };
            return Ok((field, equal, value.to_owned()));
        }
    }
    Err(bad_request(format!(
        "invalid selector: '{text}'; can't understand '{text}'"
    )))
}

fn unknown_field(field: &str) -> Box<Status> {
    bad_request(format!(
        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Query, Selector};
    use crate::kind::Kind;
    use crate::object::Object;

    fn matches(selector: &str) -> Option<bool> {
        let value = json!({
            "metadata": { "name": "a", "namespace": "ns", "labels": { "app": "kv", "tier": "x" } },
        });
        let object = Object::new(Kind::ConfigMap, value, 1);
        Selector::parse(&Query::parse(selector))
            .ok()
            .map(|selector| selector.matches(&object))
    }

    #[test]
    fn label_selectors() {
        for (selector, expected) in [
            ("app=kv,tier!=y", true),
            ("app==other", false),
            ("app in (a, kv)", true),
            ("app notin (kv)", false),
            ("none notin (kv)", true),
            ("tier,!none", true),
            ("!tier", false),
            ("tier>1", false),
        ] {
            let query = format!("labelSelector={}", selector.replace('=', "%3D"));
            assert_eq!(matches(&query), Some(expected), "{selector}");
        }
        for broken in ["a b", "tier,", "-x", "x=-", "x in (", "=x", "x>y"] {
            assert_eq!(
                matches(&format!("labelSelector={broken}")),
                None,
                "{broken}"
            );
        }
    }

    #[test]
    fn field_selectors() {
        assert_eq!(matches("fieldSelector=metadata.name%3Da"), Some(true));
        assert_eq!(
            matches("fieldSelector=metadata.name%3Da,metadata.namespace!=ns"),
            Some(false)
        );
        assert_eq!(matches("fieldSelector=data%3Da"), None);
    }
}
