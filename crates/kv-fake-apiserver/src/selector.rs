//! Label and field selectors.

use crate::object::Object;
use crate::query::Query;
use crate::status::{Result, bad_request};

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
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    let parts = split_outside_parentheses(text);
    parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(requirement)
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
            let values = values
                .ok_or_else(refuse)?
                .split(',')
                .map(|v| v.trim().to_owned());
            return Ok(one_of(
                word_of(key).ok_or_else(refuse)?,
                values.collect(),
                negated,
            ));
        }
    }
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = text.split_once(operator) {
            let values = vec![value.trim().to_owned()];
            return Ok(one_of(word_of(key).ok_or_else(refuse)?, values, negated));
        }
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(word_of(key).ok_or_else(refuse)?)),
        None => Ok(Requirement::Exists(word_of(text).ok_or_else(refuse)?)),
    }
}

fn one_of(key: String, values: Vec<String>, negated: bool) -> Requirement {
    if negated {
        Requirement::NotIn(key, values)
    } else {
        Requirement::In(key, values)
    }
}

fn word_of(text: &str) -> Option<String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    (!text.is_empty() && text.chars().all(legal)).then(|| text.to_owned())
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
                other => return Err(bad_request(format!("field label not supported: {other}"))),
            };
            return Ok((field, equal, value.to_owned()));
        }
    }
    Err(bad_request(format!(
        "invalid field selector: {text}; can't understand '{text}'"
    )))
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
        ] {
            let query = format!("labelSelector={}", selector.replace('=', "%3D"));
            assert_eq!(matches(&query), Some(expected), "{selector}");
        }
        assert_eq!(matches("labelSelector=a b"), None);
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
