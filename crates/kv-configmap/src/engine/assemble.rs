//! From the bytes of a head, and of the segments that it names, to the state of the bucket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kv_core::Revision;
use kv_core::backend::{Effect, Record, Stored};
use prost::Message;

use super::head::{Base, FORMAT, Head};
use super::manifest::{Named, RAW_BYTES, RUNS, SEGMENTS};
use super::run::{self, Run, SegmentRef};
use super::segment::SegmentId;
use super::state::{Item, State};
use super::tail::{Decoded, Tail};
use super::writers::Writers;
use super::{BucketId, DecodeError, block, envelope, proto};

/// A head whose segments have not been looked at.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(super) head: Head,
    pub(super) revision: Revision,
    /// What the commits of the tail did; `None`: that was known already.
    decoded: Vec<Option<Decoded>>,
}

/// The bytes of segments that were fetched.
pub(crate) type Segments = HashMap<SegmentId, Bytes>;

/// How a state came to be from the one known before.
#[derive(Debug)]
pub(crate) enum History {
    /// By these commits, one after the other, from the state at the commit `after`.
    Commits {
        after: Revision,
        records: Vec<Arc<Record>>,
    },
    /// Unknown: commits are missing, or it is the state of another history.
    Lost,
}

/// How to get to the state of a head.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// Whether the known state is where it begins.
    keeps_known: bool,
    /// Load what the commits after this one have left in runs and in the base.
    load_after: Option<Revision>,
    /// Then apply the commits of the tail after this one.
    replay_after: Revision,
}

impl Encoded {
    /// Reads a head. What its tail has in common with that of `known` need not be decoded again.
    pub(crate) fn read(bytes: &Bytes, known: Option<&Head>) -> Result<Self, DecodeError> {
        let payload = envelope::open(envelope::HEAD, bytes, FORMAT)?;
        let message = proto::Head::decode(payload);
        let message = message.map_err(|error| DecodeError::Content(error.to_string()))?;
        let id = message.bucket_id.as_ref().try_into();
        let id = id.map_err(|_| content("the bucket id has not 16 bytes".to_owned()))?;
        let none = Tail::default();
        let known = known.map_or(&none, |known| &known.tail);
        let (tail, decoded) = Tail::decode(&message.tail, known)?;
        let base = Base {
            revision: Revision::new(message.base_revision),
            raw_bytes: block::raw_bytes(&message.base)?,
            stored: message.base,
        };
        let runs: Result<Vec<Run>, _> = message.runs.iter().map(Run::from_proto).collect();
        let head = Head {
            id: BucketId(id),
            state: State::default(),
            runs: runs?,
            base,
            tail,
            tail_stored_bytes: message.tail.len(),
            unfoldable_bytes: 0,
            writers: Writers::new(message.writers, message.writers_complete_after),
            sweep_epoch: message.sweep_epoch,
            leader: message.leader,
            tombstones_dropped_through: Revision::new(message.tombstones_dropped_through),
            recent: message
                .recent_revisions
                .into_iter()
                .map(Revision::new)
                .collect(),
        };
        let revision = Revision::new(message.revision);
        check(&head, revision)?;
        Ok(Self {
            head,
            revision,
            decoded,
        })
    }

    pub(crate) fn id(&self) -> BucketId {
        self.head.id
    }

    pub(crate) fn has_segments(&self) -> bool {
        self.head.all_runs().next().is_some()
    }

    /// The segments that are needed to get from `known` to the state of this head.
    pub(crate) fn missing(&self, known: Option<&Head>) -> Vec<SegmentRef> {
        let plan = self.plan(known);
        let manifest = self.head.runs.iter().filter(|run| {
            let after = plan.load_after;
            after.is_some_and(|after| run.revision > after)
        });
        let tail = self.head.tail.after(plan.replay_after).iter();
        let tail = tail.filter_map(|commit| commit.run.as_ref());
        let segments = manifest.chain(tail).flat_map(|run| &run.segments);
        segments.copied().collect()
    }

    fn plan(&self, known: Option<&Head>) -> Plan {
        let base = self.head.base.revision;
        let anew = Plan {
            keeps_known: false,
            load_after: Some(Revision::ZERO),
            replay_after: base,
        };
        let Some(known) = known.filter(|known| self.follows(known)) else {
            return anew;
        };
        let at = known.revision();
        if at == base || self.head.tail.get(at).is_some() {
            return Plan {
                keeps_known: true,
                load_after: None,
                replay_after: at,
            };
        }
        if self.head.recent.contains(&at) && at >= self.head.tombstones_dropped_through {
            return Plan {
                keeps_known: true,
                load_after: Some(at),
                replay_after: base,
            };
        }
        anew
    }

    /// Whether this can be a later head of the same history.
    fn follows(&self, known: &Head) -> bool {
        let at = known.revision();
        // The same commit, or one of the same number in the history of a restored backup.
        let is_other = match (self.head.tail.get(at), known.tail.get(at)) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        known.id == self.head.id && at <= self.revision && !is_other
    }

    /// The state of this head, built on `known` where that is possible.
    pub(crate) fn assemble(
        mut self,
        known: Option<&Head>,
        segments: &Segments,
    ) -> Result<(Head, History), DecodeError> {
        let plan = self.plan(known);
        if let (true, Some(known)) = (plan.keeps_known, known) {
            self.head.state = known.state.clone();
        }
        if let Some(after) = plan.load_after {
            self.load(after, segments)?;
        }
        let records = self.replay(plan.replay_after, segments)?;
        if self.head.revision() != self.revision {
            let (is, told) = (self.head.revision(), self.revision);
            return Err(content(format!(
                "the last commit is {is}, the head tells {told}"
            )));
        }
        self.forget_tombstones(known.filter(|_| plan.keeps_known));
        let history = match known {
            Some(_) if plan.load_after.is_some() => History::Lost,
            _ => History::Commits {
                after: plan.replay_after,
                records,
            },
        };
        Ok((self.head, history))
    }

    /// Loads what the commits after `after` have left in runs and in the base.
    fn load(&mut self, after: Revision, segments: &Segments) -> Result<(), DecodeError> {
        let find = |id: SegmentId| segments.get(&id).cloned();
        let head = &mut self.head;
        let newer = head.runs.iter().filter(|run| run.revision > after);
        for run in newer {
            for item in run::read(head.id, run, &find)? {
                head.state.load(item);
            }
        }
        for item in head.base.items()? {
            head.state.load(item);
        }
        head.state.loaded_through(head.base.revision);
        Ok(())
    }

    /// Takes out what the commits of the tail after `after` did.
    fn take_commits(&mut self, after: Revision) -> Result<Vec<Decoded>, DecodeError> {
        let commits = self.head.tail.commits().iter();
        let commits = commits.zip(std::mem::take(&mut self.decoded));
        let newer = commits.filter(|(logged, _)| logged.revision > after);
        let decoded = newer.map(|(logged, decoded)| decoded.map_or_else(|| logged.decode(), Ok));
        decoded.collect()
    }

    /// Applies the commits of the tail after `after`.
    fn replay(
        &mut self,
        after: Revision,
        segments: &Segments,
    ) -> Result<Vec<Arc<Record>>, DecodeError> {
        let find = |id: SegmentId| segments.get(&id).cloned();
        let mut records = Vec::new();
        for commit in self.take_commits(after)? {
            let items = match &commit.run {
                Some(run) => Some(run::read(self.head.id, run, &find)?),
                None => None,
            };
            let commits = match items {
                Some(items) => commit.split(items)?,
                None => vec![commit],
            };
            for Decoded {
                revision,
                effects,
                reclaimed,
                ..
            } in commits
            {
                if revision <= self.head.revision() {
                    let reason = format!("commit {revision} follows {}", self.head.revision());
                    return Err(content(reason));
                }
                let record = self.head.state.step(revision, &effects, &reclaimed);
                records.push(Arc::new(record));
            }
        }
        Ok(records)
    }

    /// Forgets the tombstones that no run needs any more, as whoever compacted the bucket has.
    ///
    /// What is forgotten here may still be in the base. The next flush will leave it out and not
    /// know that it does, so that it has to be noted now: a state from before the removal cannot be
    /// caught up with from such a flush.
    fn forget_tombstones(&mut self, known: Option<&Head>) {
        let known = known.map(|known| known.tombstones_dropped_through);
        let head = &mut self.head;
        let mut dropped = head.tombstones_dropped_through;
        if known.is_none_or(|known| known < dropped) {
            let written: Vec<Revision> = head.all_runs().map(|run| run.written_at).collect();
            let base = head.base.revision;
            dropped = dropped.max(head.state.forget_tombstones(|removed| {
                removed > base || written.iter().any(|written_at| *written_at < removed)
            }));
        }
        head.tombstones_dropped_through = dropped.max(known.unwrap_or_default());
    }
}

impl Decoded {
    /// The commits of which a run holds what they left, one after the other. The first of them has
    /// reclaimed what was reclaimed.
    fn split(self, items: Vec<Item>) -> Result<Vec<Self>, DecodeError> {
        let mut commits = BTreeMap::<Revision, Vec<Item>>::new();
        for item in items {
            commits.entry(item.revision()).or_default().push(item);
        }
        if commits.keys().next_back() != Some(&self.revision) {
            let reason = format!("the run of commit {} ends with another", self.revision);
            return Err(content(reason));
        }
        let mut reclaimed = self.reclaimed;
        let commits = commits.into_iter().map(|(revision, items)| {
            let reclaimed = std::mem::take(&mut reclaimed);
            let keys: BTreeSet<_> = reclaimed.iter().collect();
            // A key that was reclaimed may have been put again by the same commit.
            let is_reclaimed =
                |item: &Item| matches!(item, Item::Tombstone(..)) && keys.contains(item.key());
            let items = items.into_iter().filter(|item| !is_reclaimed(item));
            let effects = items.map(to_effect).collect();
            Self {
                revision,
                effects,
                reclaimed,
                run: None,
            }
        });
        Ok(commits.collect())
    }
}

fn check(head: &Head, revision: Revision) -> Result<(), DecodeError> {
    let references = head.all_runs().flat_map(|run| &run.segments);
    let segments: Vec<_> = references.map(|segment| segment.id).collect();
    let Named {
        runs,
        segments: count,
        raw_bytes,
    } = head.named();
    if runs > RUNS || count > SEGMENTS {
        return Err(content(format!(
            "it names {runs} runs and {count} segments, too many"
        )));
    }
    if raw_bytes > RAW_BYTES {
        return Err(content(format!(
            "its runs have {raw_bytes} bytes, the limit is {RAW_BYTES}"
        )));
    }
    let distinct: BTreeSet<_> = segments.iter().collect();
    if distinct.len() != segments.len() {
        return Err(content("it names a segment twice".to_owned()));
    }
    let base = head.base.revision;
    let is_in_order = head
        .runs
        .is_sorted_by(|one, other| one.revision < other.revision)
        && head.flushed() <= base
        && base <= revision
        && head.runs.iter().all(|run| run.written_at <= revision);
    if !is_in_order {
        return Err(content("its runs are not in order".to_owned()));
    }
    Ok(())
}

impl State {
    /// Applies one commit; returns what those who follow the bucket are told of it.
    pub(super) fn step(
        &mut self,
        revision: Revision,
        effects: &[Effect],
        reclaimed: &[kv_core::Key],
    ) -> Record {
        let expiry = |key: &kv_core::Key| {
            let entry = self.snapshot().stored(key)?;
            Some((entry.expires_at?, key.clone()))
        };
        let reclaimed_at = reclaimed.iter().filter_map(expiry).collect();
        self.apply(revision, effects, reclaimed);
        let changes = effects.iter().map(|effect| effect.to_change(revision));
        Record {
            revision,
            changes: changes.collect(),
            reclaimed: reclaimed_at,
        }
    }
}

fn to_effect(item: Item) -> Effect {
    match item {
        Item::Entry(entry) => Effect {
            key: entry.key,
            stored: Some(Stored {
                value: entry.value,
                expires_at: entry.expires_at,
            }),
        },
        Item::Tombstone(key, _) => Effect { key, stored: None },
    }
}

fn content(reason: String) -> DecodeError {
    DecodeError::Content(reason)
}
