//! Keys that an encoding is likely to get wrong.

/// Legal keys, all different, of which many collide where an encoding is lossy: separators, dots,
/// escapes, cases, forms of Unicode, control characters, and names that stores use themselves.
#[rustfmt::skip]
pub const HOSTILE_KEYS: &[&str] = &[
    // Separators in every position.
    "a", "/", "//", "/a", "a/", "a//b", "a/b", "a/b/", "//a", "a/b/c", "\\", "a\\b", "a:b", "a|b",
    // Dots.
    ".", "..", "...", "./a", "../a", "..a", "a..", "a.", ".a", "a.b", "a..b", "a/../b", "a/./b",
    // A key that begins as another.
    "foo", "foo/", "foo/bar", "foobar", "foo.bar", "foo-bar", "foo_bar", "foo0", "fo", "Foo", "FOO",
    // Escapes, and what looks like them.
    "%", "%%", "%2", "%2F", "%2f", "%252F", "a%2Fb", "%25", "%00", "%Q", "a%b", "_", "__", "_2f",
    "_2F", "_5f", "a_2fb", "-", "--", "-2f", "=", "==", "=2F", "a=2Fb", "~", "~1", "~0", "\\x2f",
    "\\u002f", "&amp;", "&", "+", "a+b", "a b", " ", "  ", " a", "a ", "$", "${a}", "$(a)", "$$",
    // Wildcards and quotes.
    "*", "a*", "?", "a?", "[a]", "{a}", "'", "\"", "`", "\"a\"", "<a>", ",", "a,b", ";", "!", "#",
    "@", "^", "(", ")",
    // Control characters, and other bytes that a text format dislikes.
    "\0", "a\0", "a\0b", "\u{1}", "\t", "\n", "a\n", "\r", "\r\n", "a\nb", "\u{1b}[0m", "\u{7f}",
    "\u{80}", "\u{85}", "\u{a0}", "\u{ad}", "\u{200b}", "\u{200d}", "\u{202e}", "\u{2028}",
    "\u{feff}", "\u{feff}a", "\u{fffd}", "\u{ffff}", "\u{10ffff}",
    // Composed and decomposed, narrow and wide, upper and lower, beyond the first plane.
    "\u{e9}", "e\u{301}", "É", "ﬁ", "fi", "ß", "ss", "SS", "İ", "i", "ı", "I", "\u{212b}",
    "A\u{30a}", "ａ", "ñ", "日本", "日本語", "🔥", "👩‍🚀", "👩", "\u{1f1e6}\u{1f1e8}",
    // Names that stores keep for themselves.
    "data", "binaryData", "metadata", "kind", "apiVersion", "immutable", "stringData", "head",
    "manifest", "index", "tail", "segment", "segment-0", "revision", "lock", "meta", "_kv", "kv",
    "kv.dev/head", ".keep", "..data", "..2024", "__proto__", "null", "true", "0", "00", "01", "1",
    "10", "2", "-1", "1e3", "NaN", "k8s.io/x", "kubectl.kubernetes.io/last-applied-configuration",
    "Zm9v", "Zm9vYmFy", "H4sIAAAAAAAA", "nil", "undefined", "CON", "aux.txt",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_key_is_there_twice() {
        let distinct: BTreeSet<_> = HOSTILE_KEYS.iter().collect();
        assert_eq!(distinct.len(), HOSTILE_KEYS.len());
    }
}
