//! The syntax of names, keys and labels.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
    '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
    '[-._a-zA-Z0-9]+')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
    'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

const QUALIFIED_NAME: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an \
    optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";

/// What is wrong with a text, in the words of the server.
pub(crate) type Complaint = String;

fn too_long(limit: usize) -> Complaint {
    format!("must be no more than {limit} bytes")
}

fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The name of most objects.
pub(super) fn subdomain(text: &str) -> Option<Complaint> {
    if text.len() > 253 {
        return Some("must be no more than 253 characters".to_owned());
    }
    (!text.split('.').all(is_dns_label)).then(|| SUBDOMAIN.to_owned())
}

/// The name of a namespace.
pub(super) fn dns_label(text: &str) -> Option<Complaint> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    (!is_dns_label(text)).then(|| DNS_LABEL.to_owned())
}

/// A key of `data` and `binaryData`.
pub(super) fn config_key(text: &str) -> Option<Complaint> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.len() > 253 {
        return Some("must be no more than 253 characters".to_owned());
    }
    if text.is_empty() || !text.bytes().all(legal) {
        return Some(CONFIG_KEY.to_owned());
    }
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

fn is_label_text(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.bytes().all(legal) && ends(bytes.first()) && ends(bytes.last())
}

/// The value of a label.
pub(crate) fn label_value(text: &str) -> Option<Complaint> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    (!text.is_empty() && !is_label_text(text)).then(|| LABEL_VALUE.to_owned())
}

/// The key of a label or an annotation: a name, with a domain and a slash before it perhaps.
pub(crate) fn qualified_name(text: &str) -> Option<Complaint> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if name.contains('/') {
        return Some(QUALIFIED_NAME.to_owned());
    }
    if prefix == Some("") {
        return Some("prefix part must be non-empty".to_owned());
    }
    if prefix.is_some_and(|prefix| subdomain(prefix).is_some()) {
        return Some(format!("prefix part {SUBDOMAIN}"));
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some(format!("name part {}", too_long(63)));
    }
    (!is_label_text(name)).then(|| NAME_PART.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{config_key, label_value, qualified_name, subdomain};

    #[test]
    fn names() {
        for good in ["a", "a.b", "a-1.b", &"a".repeat(253)] {
            assert_eq!(subdomain(good), None, "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a.", "a..b", &"a".repeat(254)] {
            assert!(subdomain(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn keys() {
        for good in ["a", "A_b-c.d", ".hidden", "a..b"] {
            assert_eq!(config_key(good), None, "{good}");
        }
        for bad in ["", ".", "..", "..a", "a/b", "ä", &"a".repeat(254)] {
            assert!(config_key(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn labels() {
        for good in ["", "a", "A.b_c-d", &"a".repeat(63)] {
            assert_eq!(label_value(good), None, "{good}");
        }
        for bad in ["-a", "a.", "a/b", &"a".repeat(64)] {
            assert!(label_value(bad).is_some(), "{bad}");
        }
        for good in ["a", "example.com/a_B"] {
            assert_eq!(qualified_name(good), None, "{good}");
        }
        for bad in ["", "/a", "a/", "A_/a", "a/b/c"] {
            assert!(qualified_name(bad).is_some(), "{bad}");
        }
    }
}
