use kv_core::{Error, Result};

/// The longest bucket name: what is left of an object's 253 characters for names derived from it.
const BUCKET_NAME_BYTES: usize = 200;

/// The longest namespace name, an RFC 1123 label.
const NAMESPACE_BYTES: usize = 63;

/// Checks a bucket name by the rule for object names, an RFC 1123 subdomain:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>
pub(crate) fn check_bucket(name: &str) -> Result<()> {
    if name.len() > BUCKET_NAME_BYTES {
        return Err(invalid(
            name,
            format!("it has {} bytes, the limit is 200", name.len()),
        ));
    }
    if !name.split('.').all(is_label) {
        let rule = "use lower case letters, digits, '-' and '.', with a letter or digit at both \
                    ends of each part";
        return Err(invalid(name, rule.to_owned()));
    }
    Ok(())
}

pub(crate) fn check_namespace(name: &str) -> Result<()> {
    if name.len() > NAMESPACE_BYTES || !is_label(name) {
        let rule = "a namespace has 1 to 63 lower case letters, digits and '-', with a letter or \
                    digit at both ends";
        return Err(invalid(name, rule.to_owned()));
    }
    Ok(())
}

fn is_label(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(*first)
        && alphanumeric(*last)
        && bytes
            .iter()
            .all(|byte| alphanumeric(*byte) || *byte == b'-')
}

fn invalid(name: &str, reason: String) -> Error {
    let name = name.chars().take(BUCKET_NAME_BYTES + 1).collect();
    Error::InvalidName { name, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_refuses_are_refused_before_any_call() {
        for name in [
            "a",
            "a-b.c",
            "0",
            &"a".repeat(64),
            &"a".repeat(199),
            &"a".repeat(200),
        ] {
            assert!(check_bucket(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".",
            "-a",
            "a-",
            "a..b",
            "A",
            "a_b",
            "a/b",
            "ä",
            &"a".repeat(201),
        ] {
            let refused = check_bucket(name);
            assert!(matches!(refused, Err(Error::InvalidName { .. })), "{name}");
        }
        assert!(check_namespace(&"a".repeat(63)).is_ok());
        for name in ["", "a.b", "A", &"a".repeat(64)] {
            assert!(check_namespace(name).is_err(), "{name}");
        }
    }
}
