use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::backend::{Effect, Stored};
use kv_core::{Key, Revision};
use prost::Message;

use super::DecodeError;
use super::block::{self, Effort};
use super::fields::{Content, elements, fields};
use super::group::NewCommit;
use super::manifest::SEGMENTS;
use super::proto;
use super::run::Run;
use super::time::{from_millis, to_millis};

/// The last commits, oldest first, each encoded once and for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    commits: Vec<Logged>,
    raw_bytes: usize,
}

/// A commit as the tail holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) revision: Revision,
    encoded: Bytes,
    /// Where its changes are, if they are too large for the tail.
    pub(super) run: Option<Run>,
}

/// What a commit of the tail did.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    pub(super) revision: Revision,
    pub(super) effects: Vec<Effect>,
    pub(super) reclaimed: Vec<Key>,
    pub(super) run: Option<Run>,
}

impl Tail {
    /// Adds a commit: what it changed, and the keys of expired entries that it reclaimed.
    pub(super) fn push(&mut self, commit: &NewCommit) {
        let reclaimed = commit.reclaimed.iter().map(to_reclaimed);
        let changes = reclaimed.chain(commit.effects.iter().map(to_change));
        let commit = proto::Commit {
            revision: commit.revision.get(),
            changes: changes.collect(),
            run: None,
        };
        self.push_encoded(commit, None);
    }

    /// Adds a commit whose changes, and what it reclaimed, are in a run of its own.
    pub(super) fn push_run(&mut self, run: Run, reclaimed: &[Key]) {
        let commit = proto::Commit {
            revision: run.revision.get(),
            changes: reclaimed.iter().map(to_reclaimed).collect(),
            run: Some(run.to_proto()),
        };
        self.push_encoded(commit, Some(run));
    }

    fn push_encoded(&mut self, commit: proto::Commit, run: Option<Run>) {
        let revision = Revision::new(commit.revision);
        // A message with one element: put one after the other, such messages are one message
        // with all elements.
        let commits = vec![commit];
        let encoded = Bytes::from(proto::Commits { commits }.encode_to_vec());
        self.raw_bytes += encoded.len();
        self.commits.push(Logged {
            revision,
            encoded,
            run,
        });
    }

    pub(super) fn commits(&self) -> &[Logged] {
        &self.commits
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// The size, before compression, of the commits after `revision`.
    pub(super) fn raw_bytes_after(&self, revision: Revision) -> usize {
        let after = self.after(revision);
        after.iter().map(|commit| commit.encoded.len()).sum()
    }

    /// The commits after `revision`.
    pub(super) fn after(&self, revision: Revision) -> &[Logged] {
        let first = self
            .commits
            .partition_point(|commit| commit.revision <= revision);
        &self.commits[first..]
    }

    pub(super) fn get(&self, revision: Revision) -> Option<&Logged> {
        let found = self
            .commits
            .binary_search_by_key(&revision, |commit| commit.revision);
        found.ok().map(|index| &self.commits[index])
    }

    /// Removes commits up to `covered`, but for the newest that have `overlap_bytes`. A commit in
    /// segments of its own goes, with all before it: from now on its segments can be merged away.
    pub(super) fn trim(&mut self, covered: Revision, overlap_bytes: usize) -> Vec<Revision> {
        let end = self.commits.len() - self.after(covered).len();
        let mut kept = 0;
        let is_kept = |commit: &&Logged| {
            kept += commit.encoded.len();
            commit.run.is_none() && kept <= overlap_bytes
        };
        let overlap = self.commits[..end].iter().rev().take_while(is_kept).count();
        let removed: Vec<_> = self.commits.drain(..end - overlap).collect();
        self.raw_bytes -= removed
            .iter()
            .map(|commit| commit.encoded.len())
            .sum::<usize>();
        removed.iter().map(|commit| commit.revision).collect()
    }

    pub(super) fn compress(&self) -> Option<Bytes> {
        let mut raw = BytesMut::with_capacity(self.raw_bytes);
        for commit in &self.commits {
            raw.put_slice(&commit.encoded);
        }
        block::compress(&raw, Effort::Fast)
    }

    /// The keys that commits after `revision` touch.
    pub(super) fn keys_after(&self, revision: Revision) -> Result<BTreeSet<Key>, DecodeError> {
        let mut keys = BTreeSet::new();
        for commit in self.after(revision) {
            let decoded = proto::Commits::decode(commit.encoded.clone());
            let decoded = decoded.map_err(|error| content(error.to_string()))?;
            for change in decoded.commits.iter().flat_map(|commit| &commit.changes) {
                keys.insert(to_key(&change.key)?);
            }
        }
        Ok(keys)
    }

    /// Decodes a tail, and what each commit did: one commit at a time, so that a bad one is refused
    /// before there is memory for the others. Those that are in the tail `known` were looked at when it
    /// was decoded: of these it is not told what they did.
    pub(super) fn decode(
        stored: &Bytes,
        known: &Self,
    ) -> Result<(Self, Vec<Option<Decoded>>), DecodeError> {
        let mut rest = block::open(stored)?;
        let mut tail = known.common(&mut rest);
        let mut decoded = vec![None; tail.commits.len()];
        let mut segments = tail.segments();
        for encoded in elements(rest) {
            let after = tail.commits.last().map(|last| last.revision);
            let commit = tail.push_decoded(encoded?)?;
            let after = after.unwrap_or_default();
            if commit.revision <= after {
                return Err(content(format!(
                    "commit {} follows {after}",
                    commit.revision
                )));
            }
            segments += commit.run.as_ref().map_or(0, |run| run.segments.len());
            if segments > SEGMENTS {
                return Err(content("its tail names too many segments".to_owned()));
            }
            decoded.push(Some(commit));
        }
        Ok((tail, decoded))
    }

    /// Takes from the beginning of an encoded tail what is in this one, too: as a rule all but what has
    /// been flushed, and what has come since.
    fn common(&self, encoded: &mut Bytes) -> Self {
        let mut common = Self::default();
        let first = elements(encoded.clone()).next();
        let Some(revision) = first.and_then(|first| revision_of(first.ok()?)) else {
            return common;
        };
        let before = self
            .commits
            .partition_point(|commit| commit.revision < revision);
        for commit in &self.commits[before..] {
            if !encoded.starts_with(&commit.encoded) {
                break;
            }
            encoded.advance(commit.encoded.len());
            common.raw_bytes += commit.encoded.len();
            common.commits.push(commit.clone());
        }
        common
    }

    fn segments(&self) -> usize {
        let runs = self.commits.iter().filter_map(|commit| commit.run.as_ref());
        runs.map(|run| run.segments.len()).sum()
    }

    fn push_decoded(&mut self, encoded: Bytes) -> Result<Decoded, DecodeError> {
        let commit = read_commit(encoded)?;
        let revision = Revision::new(commit.revision);
        let run = commit.run.as_ref().map(Run::from_proto).transpose()?;
        let is_its_own = |run: &Run| run.revision == revision && run.written_at == revision;
        if !run.as_ref().is_none_or(is_its_own) {
            let reason = format!("commit {revision} refers to the run of another");
            return Err(content(reason));
        }
        let decoded = to_decoded(&commit, run.clone())?;
        self.push_encoded(commit, run);
        Ok(decoded)
    }
}

impl Logged {
    /// What it did.
    pub(super) fn decode(&self) -> Result<Decoded, DecodeError> {
        let element = elements(self.encoded.clone()).next();
        let element = element.ok_or_else(|| content("a commit is missing".to_owned()))?;
        to_decoded(&read_commit(element?)?, self.run.clone())
    }
}

/// The revision of a commit, which is what it begins with where it was written by this program.
fn revision_of(commit: Bytes) -> Option<Revision> {
    match fields(commit).next()? {
        Ok((1, Content::Number(revision))) => Some(Revision::new(revision)),
        _ => None,
    }
}

/// Reads a commit, one change at a time for the same reason.
fn read_commit(encoded: Bytes) -> Result<proto::Commit, DecodeError> {
    let mut commit = proto::Commit::default();
    let mut touched = BTreeSet::new();
    for field in fields(encoded) {
        match field? {
            (1, Content::Number(revision)) => commit.revision = revision,
            (2, Content::Bytes(change)) => {
                let change = proto::Change::decode(change);
                let change = change.map_err(|error| content(error.to_string()))?;
                // What was reclaimed may have been put again.
                if !touched.insert((change.reclaimed, to_key(&change.key)?)) {
                    return Err(content(format!("a commit changes {} twice", change.key)));
                }
                commit.changes.push(change);
            }
            (3, Content::Bytes(run)) => commit.run = Some(Run::decode(run)?),
            _ => {}
        }
    }
    Ok(commit)
}

fn content(reason: String) -> DecodeError {
    DecodeError::Content(reason)
}

fn to_decoded(commit: &proto::Commit, run: Option<Run>) -> Result<Decoded, DecodeError> {
    let (mut effects, mut reclaimed) = (Vec::new(), Vec::new());
    for change in &commit.changes {
        if change.reclaimed {
            reclaimed.push(to_key(&change.key)?);
        } else {
            effects.push(to_effect(change)?);
        }
    }
    Ok(Decoded {
        revision: Revision::new(commit.revision),
        effects,
        reclaimed,
        run,
    })
}

fn to_reclaimed(key: &Key) -> proto::Change {
    proto::Change {
        key: key.as_str().to_owned(),
        reclaimed: true,
        ..proto::Change::default()
    }
}

fn to_change(effect: &Effect) -> proto::Change {
    let stored = effect.stored.as_ref();
    proto::Change {
        key: effect.key.as_str().to_owned(),
        value: stored.map(|stored| stored.value.clone()),
        expires_at_ms: stored.and_then(|stored| stored.expires_at).map(to_millis),
        reclaimed: false,
    }
}

fn to_key(text: &str) -> Result<Key, DecodeError> {
    Key::new(text).map_err(|error| content(error.to_string()))
}

fn to_effect(change: &proto::Change) -> Result<Effect, DecodeError> {
    let expires_at = change.expires_at_ms.map(from_millis);
    // A copy: a slice would keep the whole decompressed tail in memory for one value.
    let value = change.value.as_deref().map(Bytes::copy_from_slice);
    let stored = value.map(|value| Stored { value, expires_at });
    Ok(Effect {
        key: to_key(&change.key)?,
        stored,
    })
}
