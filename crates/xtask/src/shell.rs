//! Words for a POSIX shell to read back.

/// Quotes a word so that a shell takes it literally.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_dollars_stay_literal() {
        assert_eq!(quote("/tmp/a b/$HOME"), "'/tmp/a b/$HOME'");
    }

    #[test]
    fn a_quote_is_closed_escaped_and_opened_again() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
