use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kv_core::{Entry, Key, Revision};
use serde::Serialize;

use crate::exit::Failure;

/// Writes to standard output, all of it or an error.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|source| Failure::Output { source })
}

/// Writes to standard output where the reader may take its time, as one who pages through it does:
/// an interrupt still ends the program then.
pub(crate) async fn print_slowly(text: String) -> Result<(), Failure> {
    let printed = tokio::task::spawn_blocking(move || print(text.as_bytes())).await;
    printed.unwrap_or_else(|error| {
        let source = io::Error::other(error);
        Err(Failure::Output { source })
    })
}

/// Waits until nobody reads standard output any more, which a program that has nothing to write
/// would not notice otherwise.
pub(crate) async fn closed() {
    #[cfg(unix)]
    if let Ok(true) = tokio::task::spawn_blocking(wait_for_hangup).await {
        return;
    }
    std::future::pending::<()>().await;
}

/// `false`: it cannot be told.
#[cfg(unix)]
fn wait_for_hangup() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let out = io::stdout();
    let mut ends = [PollFd::new(&out, PollFlags::empty())];
    loop {
        match poll(&mut ends, None) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return ended.is_ok(),
        }
    }
}

/// Writes one line to standard error, where people read it and no script does.
pub(crate) fn note(text: &str) {
    // Nothing depends on it.
    let _ = writeln!(io::stderr().lock(), "kv: {text}");
}

/// One line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::Output {
        source: error.into(),
    })?;
    Ok(line + "\n")
}

/// An entry as JSON. A value that is no text goes into another field, in base64.
#[derive(Serialize)]
pub(crate) struct JsonEntry<'a> {
    key: &'a Key,
    revision: Revision,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'a> JsonEntry<'a> {
    pub(crate) fn new(entry: &'a Entry, with_value: bool) -> Self {
        let text = std::str::from_utf8(&entry.value).ok();
        let base64 = || STANDARD.encode(&entry.value);
        Self {
            key: &entry.key,
            revision: entry.revision,
            size: entry.value.len(),
            expires_at: entry.expires_at.and_then(rfc3339),
            value: text.filter(|_| with_value),
            value_base64: (with_value && text.is_none()).then(base64),
        }
    }

    /// One line for people, without its end.
    pub(crate) fn line(&self) -> String {
        let key = escape(self.key.as_str());
        let size = count(self.size as u64, "byte", "bytes");
        let mut line = format!("{}  {key}  {size}", self.revision);
        if let Some(time) = &self.expires_at {
            let _ = write!(line, "  expires {time}");
        }
        if let Some(text) = self.value {
            let _ = write!(line, "  {}", escape(text));
        }
        if let Some(base64) = &self.value_base64 {
            let _ = write!(line, "  base64:{base64}");
        }
        line
    }
}

/// A number with its noun.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// The entries as a table with a head.
pub(crate) fn table(entries: &[Entry], with_values: bool) -> String {
    let mut head = vec!["KEY", "REVISION", "SIZE", "EXPIRES"];
    if with_values {
        head.push("VALUE");
    }
    let head = head.into_iter().map(str::to_owned).collect();
    let mut rows: Vec<Vec<String>> = vec![head];
    rows.extend(entries.iter().map(|entry| row(entry, with_values)));
    align(&rows)
}

fn row(entry: &Entry, with_value: bool) -> Vec<String> {
    let mut row = vec![
        escape(entry.key.as_str()),
        entry.revision.to_string(),
        entry.value.len().to_string(),
        entry
            .expires_at
            .and_then(rfc3339)
            .unwrap_or_else(|| "-".to_owned()),
    ];
    if with_value {
        row.push(match std::str::from_utf8(&entry.value) {
            Ok(text) => escape(text),
            Err(_) => format!("base64:{}", STANDARD.encode(&entry.value)),
        });
    }
    row
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The text with everything escaped that a terminal would obey instead of showing it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || c.is_control() || is_invisible(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Characters that take no room, or turn the direction of the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn rfc3339(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    use kv_core::Bytes;

    fn entry(key: &str, value: &'static [u8]) -> Entry {
        Entry {
            key: Key::new(key).unwrap(),
            value: Bytes::from_static(value),
            revision: Revision::new(12),
            expires_at: None,
        }
    }

    #[test]
    fn a_table_is_aligned_and_no_key_can_break_it() {
        let mut short = entry("\u{1b}[2Jé\n", b"a\tb");
        short.expires_at = Some(UNIX_EPOCH + Duration::from_millis(1_500));
        let text = table(&[short, entry("a/longer/key/than/that", b"\xff")], true);
        let expected = "\
KEY                     REVISION  SIZE  EXPIRES                 VALUE
\\u{1b}[2Jé\\n            12        3     1970-01-01T00:00:01.5Z  a\\tb
a/longer/key/than/that  12        1     -                       base64:/w==
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_escaped_is_told_from_what_looks_like_it() {
        assert_eq!(escape("a\\nb"), "a\\\\nb");
        assert_eq!(escape("a\nb"), "a\\nb");
        assert_eq!(escape("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(escape("日本 ✓"), "日本 ✓");
    }

    #[test]
    fn json_keeps_a_value_whether_it_is_text_or_not() {
        let text = json(&JsonEntry::new(&entry("k", b"\0\""), true)).unwrap();
        let expected = r#"{"key":"k","revision":"12","size":2,"value":"\u0000\""}"#;
        assert_eq!(text, format!("{expected}\n"));
        let text = json(&JsonEntry::new(&entry("k", b"\xff"), true)).unwrap();
        assert!(text.contains(r#""value_base64":"/w==""#) && !text.contains("\"value\""));
        let text = json(&JsonEntry::new(&entry("k", b"secret"), false)).unwrap();
        assert_eq!(text, "{\"key\":\"k\",\"revision\":\"12\",\"size\":6}\n");
    }
}
