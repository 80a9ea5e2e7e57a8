//! How the events of a watch are shown.

use kv_core::{Change, Key, Revision, SnapshotReason, WatchEvent};
use serde::Serialize;

use crate::args::TextOrJson;
use crate::exit::Failure;
use crate::output::{self, JsonEntry};

/// What is shown on one line. A snapshot has one of its own, and one for each of its entries.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Snapshot {
        reason: &'static str,
        revision: Revision,
        entries: usize,
    },
    Entry(JsonEntry<'a>),
    Put(JsonEntry<'a>),
    Delete {
        key: &'a Key,
        revision: Revision,
    },
    Expired {
        key: &'a Key,
        revision: Revision,
    },
}

/// The lines of an event.
pub(crate) fn show(
    event: &WatchEvent,
    output: TextOrJson,
    with_values: bool,
) -> Result<String, Failure> {
    let lines = lines(event, with_values).into_iter();
    match output {
        TextOrJson::Text => Ok(lines.map(|line| line.text() + "\n").collect()),
        TextOrJson::Json => lines.map(|line| output::json(&line)).collect(),
    }
}

fn lines(event: &WatchEvent, with_values: bool) -> Vec<Line<'_>> {
    match event {
        WatchEvent::Snapshot {
            reason,
            revision,
            entries,
        } => {
            let first = Line::Snapshot {
                reason: name(*reason),
                revision: *revision,
                entries: entries.len(),
            };
            let entries = entries.iter();
            let entries = entries.map(|entry| Line::Entry(JsonEntry::new(entry, with_values)));
            std::iter::once(first).chain(entries).collect()
        }
        WatchEvent::Changes { revision, changes } => changes
            .iter()
            .map(|change| Line::of(change, *revision, with_values))
            .collect(),
        WatchEvent::Expired { revision, keys } => {
            let revision = *revision;
            let keys = keys.iter();
            keys.map(|key| Line::Expired { key, revision }).collect()
        }
    }
}

fn name(reason: SnapshotReason) -> &'static str {
    match reason {
        SnapshotReason::Requested => "requested",
        SnapshotReason::Compacted => "compacted",
        SnapshotReason::Lagged => "lagged",
        SnapshotReason::Teardown => "teardown",
    }
}

/// What a person has to know of a snapshot that was not asked for.
fn explanation(reason: &str) -> &'static str {
    match reason {
        "compacted" => "; the changes before it are no longer known",
        "lagged" => "; some changes before it were not told",
        "teardown" => "; the bucket was torn down",
        _ => "",
    }
}

impl<'a> Line<'a> {
    fn of(change: &'a Change, revision: Revision, with_values: bool) -> Self {
        match change {
            Change::Put(entry) => Self::Put(JsonEntry::new(entry, with_values)),
            Change::Delete(key) => Self::Delete { key, revision },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Snapshot {
                reason,
                revision,
                entries,
            } => {
                let entries = output::count(*entries as u64, "entry", "entries");
                let why = explanation(reason);
                format!("snapshot  {revision}  {entries}{why}")
            }
            Self::Entry(entry) => format!("entry     {}", entry.line()),
            Self::Put(entry) => format!("put       {}", entry.line()),
            Self::Delete { key, revision } => {
                format!("delete    {revision}  {}", output::escape(key.as_str()))
            }
            Self::Expired { key, revision } => {
                format!("expired   {revision}  {}", output::escape(key.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    use kv_core::{Bytes, Entry};

    fn entry(key: &str, value: &'static [u8]) -> Entry {
        Entry {
            key: Key::new(key).unwrap(),
            value: Bytes::from_static(value),
            revision: Revision::new(7),
            expires_at: None,
        }
    }

    fn events() -> Vec<WatchEvent> {
        let (revision, key) = (Revision::new(7), Key::new("\u{1b}[2J").unwrap());
        let expiring = Entry {
            expires_at: Some(UNIX_EPOCH + Duration::from_secs(1)),
            ..entry("b", b"\xff")
        };
        let (put, delete) = (Change::Put(expiring), Change::Delete(key.clone()));
        let snapshot = |reason, entries| WatchEvent::Snapshot {
            reason,
            revision,
            entries,
        };
        vec![
            snapshot(SnapshotReason::Requested, vec![entry("a\n", b"\x1b[2J")]),
            snapshot(SnapshotReason::Lagged, vec![]),
            WatchEvent::Changes {
                revision,
                changes: vec![put, delete],
            },
            WatchEvent::Expired {
                revision,
                keys: vec![key],
            },
        ]
    }

    fn all(output: TextOrJson, with_values: bool) -> String {
        let shown = |event| show(event, output, with_values).unwrap();
        events().iter().map(shown).collect()
    }

    #[test]
    fn a_line_is_a_change_and_no_key_or_value_can_break_it() {
        let expected = "\
snapshot  7  1 entry
entry     7  a\\n  4 bytes  \\u{1b}[2J
snapshot  7  0 entries; some changes before it were not told
put       7  b  1 byte  expires 1970-01-01T00:00:01Z  base64:/w==
delete    7  \\u{1b}[2J
expired   7  \\u{1b}[2J
";
        assert_eq!(all(TextOrJson::Text, true), expected);
        assert!(!all(TextOrJson::Text, false).contains("base64"));
    }

    #[test]
    fn json_tells_the_same() {
        let expected = r#"
{"event":"snapshot","reason":"requested","revision":"7","entries":1}
{"event":"entry","key":"a\n","revision":"7","size":4}
{"event":"snapshot","reason":"lagged","revision":"7","entries":0}
{"event":"put","key":"b","revision":"7","size":1,"expires_at":"1970-01-01T00:00:01Z"}
{"event":"delete","key":"\u001b[2J","revision":"7"}
{"event":"expired","key":"\u001b[2J","revision":"7"}
"#;
        assert_eq!(all(TextOrJson::Json, false), expected.trim_start());
        assert!(all(TextOrJson::Json, true).contains(r#""value_base64":"/w==""#));
    }
}
