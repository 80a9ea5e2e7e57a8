//! How the report of a check is shown.

use std::fmt::Write as _;

use kv_configmap::{
    CheckReport, ForeignObject, HeadReport, Orphan, Revisions, SegmentReport, SegmentState,
};
use kv_core::Revision;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::output::{self, count, escape};

/// The report for people.
pub(crate) fn text(report: &CheckReport, removed: &[Orphan]) -> String {
    let mut text = String::new();
    head(&mut text, report);
    segments(&mut text, &report.segments);
    for lost in &report.readable.lost {
        let (revisions, reason) = (lost.revisions, escape(&lost.reason));
        row(&mut text, "lost", &format!("changes {revisions}: {reason}"));
    }
    entries(&mut text, report);
    match &report.unlisted {
        None => {
            orphans(&mut text, &report.orphans);
            foreign(&mut text, &report.foreign);
        }
        Some(reason) => row(
            &mut text,
            "orphans",
            &format!("unknown: {}", escape(reason)),
        ),
    }
    if !removed.is_empty() {
        row(&mut text, "removed", &sizes(removed));
        names(&mut text, removed);
    }
    text
}

fn row(text: &mut String, name: &str, content: &str) {
    let _ = writeln!(text, "{name:8}  {content}");
}

fn head(text: &mut String, report: &CheckReport) {
    let head = match &report.head {
        Ok(head) => head,
        Err(reason) => return row(text, "head", &format!("damaged: {}", escape(reason))),
    };
    let HeadReport {
        format,
        revision,
        stored_bytes,
        live_bytes,
        frozen,
        ..
    } = head;
    let state = match frozen {
        _ if report.is_head_outdated() => "older than some of its segments: it was put back",
        Some(reason) => reason,
        None => "whole",
    };
    row(text, "head", &escape(state));
    row(text, "format", &format.to_string());
    row(text, "revision", &revision.to_string());
    let live = live_bytes.map(|live| format!(", about {live} of them in use"));
    let stored = count(*stored_bytes, "byte", "bytes");
    row(text, "stored", &(stored + &live.unwrap_or_default()));
}

fn segments(text: &mut String, segments: &[SegmentReport]) {
    let is_whole = |segment: &&SegmentReport| segment.state == SegmentState::Whole;
    let whole = segments.iter().filter(is_whole).count();
    let all = segments.len();
    let summary = match all {
        0 => "none".to_owned(),
        _ if whole == all => format!("{all}, all whole"),
        _ => format!("{all}, {whole} of them whole"),
    };
    row(text, "segments", &summary);
    for segment in segments.iter().filter(|segment| !is_whole(segment)) {
        let (name, state) = (escape(&segment.name), escape(&explain(&segment.state)));
        let _ = writeln!(text, "  {name}  {state}");
    }
}

fn explain(state: &SegmentState) -> String {
    match state {
        SegmentState::Whole => "whole".to_owned(),
        SegmentState::Doomed => {
            "whole, but its owner is gone: the cluster will remove it".to_owned()
        }
        SegmentState::Missing => "missing".to_owned(),
        SegmentState::Damaged { reason } => format!("damaged: {reason}"),
    }
}

fn entries(text: &mut String, report: &CheckReport) {
    let (entries, certain) = (report.readable.entries, report.readable.certain);
    let is_all = report.head.is_ok() && report.readable.lost.is_empty();
    let content = match is_all {
        true => entries.to_string(),
        false => format!("{entries} can be read, {certain} of them certainly the newest"),
    };
    row(text, "entries", &content);
}

fn orphans(text: &mut String, orphans: &[Orphan]) {
    if orphans.is_empty() {
        return row(text, "orphans", "none");
    }
    row(text, "orphans", &sizes(orphans));
    names(text, orphans);
}

fn sizes(orphans: &[Orphan]) -> String {
    let bytes = orphans.iter().map(|orphan| orphan.bytes).sum();
    let objects = count(orphans.len() as u64, "object", "objects");
    format!("{objects}, {}", count(bytes, "byte", "bytes"))
}

fn names(text: &mut String, orphans: &[Orphan]) {
    for orphan in orphans {
        let newer = if orphan.is_newer {
            ", newer than the head"
        } else {
            ""
        };
        let (name, bytes) = (escape(&orphan.name), count(orphan.bytes, "byte", "bytes"));
        let _ = writeln!(text, "  {name}  {bytes}{newer}");
    }
}

fn foreign(text: &mut String, foreign: &[ForeignObject]) {
    if foreign.is_empty() {
        return;
    }
    let objects = count(foreign.len() as u64, "object", "objects");
    row(text, "foreign", &objects);
    for object in foreign {
        let (name, reason) = (escape(&object.name), escape(&object.reason));
        let _ = writeln!(text, "  {name}  {reason}");
    }
}

/// The report as one line of JSON.
pub(crate) fn json(report: &CheckReport, removed: &[Orphan]) -> Result<String, Failure> {
    let head = match &report.head {
        Ok(head) => json!({
            "readable": true,
            "format": head.format,
            "revision": head.revision,
            "stored_bytes": head.stored_bytes,
            "live_bytes": head.live_bytes,
            "frozen": head.frozen,
            "outdated": report.is_head_outdated(),
        }),
        Err(reason) => json!({ "readable": false, "reason": reason }),
    };
    let readable = &report.readable;
    let lost = readable
        .lost
        .iter()
        .map(|lost| Commits::lost(lost.revisions, &lost.reason));
    let revisions = readable.revisions.iter().copied().map(Commits::from);
    output::json(&json!({
        "sound": report.is_sound(),
        "head": head,
        "segments": report.segments.iter().map(segment_json).collect::<Vec<_>>(),
        "entries": readable.entries,
        "certain_entries": readable.certain,
        "readable": revisions.collect::<Vec<_>>(),
        "lost": lost.collect::<Vec<_>>(),
        "orphans": report.orphans.iter().map(orphan_json).collect::<Vec<_>>(),
        "foreign": report.foreign.iter().map(foreign_json).collect::<Vec<_>>(),
        "unlisted": report.unlisted,
        "removed": removed.iter().map(orphan_json).collect::<Vec<_>>(),
    }))
}

/// Commits that follow each other.
#[derive(Serialize)]
struct Commits<'a> {
    after: Revision,
    through: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Commits<'a> {
    fn lost(revisions: Revisions, reason: &'a str) -> Self {
        Self {
            reason: Some(reason),
            ..Self::from(revisions)
        }
    }
}

impl From<Revisions> for Commits<'_> {
    fn from(revisions: Revisions) -> Self {
        Self {
            after: revisions.after,
            through: revisions.through,
            reason: None,
        }
    }
}

fn segment_json(segment: &SegmentReport) -> Value {
    let (state, reason) = match &segment.state {
        SegmentState::Whole => ("whole", None),
        SegmentState::Doomed => ("doomed", None),
        SegmentState::Missing => ("missing", None),
        SegmentState::Damaged { reason } => ("damaged", Some(reason)),
    };
    json!({
        "name": segment.name,
        "bytes": segment.bytes,
        "commits": segment.revisions.map(Commits::from),
        "state": state,
        "reason": reason,
    })
}

fn orphan_json(orphan: &Orphan) -> Value {
    json!({ "name": orphan.name, "bytes": orphan.bytes, "newer": orphan.is_newer })
}

fn foreign_json(object: &ForeignObject) -> Value {
    json!({ "name": object.name, "reason": object.reason })
}
