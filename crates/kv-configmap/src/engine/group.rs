//! What becomes of new commits: some stay in the head, others get a run of their own.

use std::collections::BTreeSet;

use kv_core::backend::{Effect, Record};
use kv_core::{Key, Revision};

use super::head::Head;
use super::layout::Layout;
use super::run::{self, Run};
use super::segment::{NewSegment, Purpose, Target};
use super::state::Item;

/// A commit that the state has and the tail has not yet.
#[derive(Debug)]
pub(super) struct NewCommit {
    pub(super) revision: Revision,
    pub(super) effects: Vec<Effect>,
    pub(super) reclaimed: Vec<Key>,
}

impl NewCommit {
    fn bytes(&self) -> usize {
        self.effects.iter().map(effect_bytes).sum()
    }

    fn is_large(&self, layout: &Layout) -> bool {
        self.bytes() > layout.inline_commit_bytes
    }

    /// What it leaves.
    fn items(&self) -> Vec<Item> {
        let removed = |key: &Key| Item::Tombstone(key.clone(), self.revision);
        let changed: BTreeSet<&Key> = match self.reclaimed.is_empty() {
            true => BTreeSet::new(),
            false => self.effects.iter().map(|effect| &effect.key).collect(),
        };
        let reclaimed = self.reclaimed.iter().filter(|key| !changed.contains(key));
        let reclaimed = reclaimed.map(removed);
        let effects = self.effects.iter();
        let effects = effects.map(|effect| Item::of(effect, self.revision));
        reclaimed.chain(effects).collect()
    }
}

impl Head {
    /// Applies a commit to the state; returns what watchers are told of it.
    pub(super) fn step(&mut self, commit: &NewCommit) -> Record {
        self.state
            .step(commit.revision, &commit.effects, &commit.reclaimed)
    }

    /// Adds commits to the tail, oldest first: whole, or as references to runs. Returns what has to be
    /// there before the head names it.
    pub(super) fn log(
        &mut self,
        commits: &[NewCommit],
        layout: &Layout,
        nonce: u64,
    ) -> Vec<NewSegment> {
        let mut segments = Vec::new();
        // What is too much is refused before it is encoded.
        let has_runs = layout.has_segments && self.live_raw_bytes() <= layout.raw_bytes();
        let mut at = 0;
        while at < commits.len() {
            let group = &commits[at..at + group_at_beginning(&commits[at..], layout)];
            let nonce = nonce.wrapping_add(at as u64);
            let run = has_runs.then(|| self.run_of(group, layout, nonce));
            if let Some((run, new)) = run.flatten() {
                self.tail.push_run(run, &group[0].reclaimed);
                segments.extend(new);
            } else {
                group.iter().for_each(|commit| self.tail.push(commit));
            }
            at += group.len();
        }
        segments
    }

    /// The run of a group that is too large for the head.
    fn run_of(
        &self,
        group: &[NewCommit],
        layout: &Layout,
        nonce: u64,
    ) -> Option<(Run, Vec<NewSegment>)> {
        let (purpose, inline_bytes) = match group {
            [one] if one.is_large(layout) => (Purpose::Commit, 0),
            [] | [_] => return None,
            _ => (Purpose::Group, layout.inline_group_bytes),
        };
        let bytes: usize = group.iter().map(NewCommit::bytes).sum();
        if bytes <= inline_bytes {
            return None;
        }
        let mut items: Vec<Item> = group.iter().flat_map(NewCommit::items).collect();
        items.sort_unstable_by(|one, other| one.place().cmp(&other.place()));
        let target = Target {
            bucket: self.id,
            nonce,
            segment_bytes: layout.segment_bytes,
            purpose,
        };
        let last = group.last()?.revision;
        let (run, segments) = run::write(&target, last, last, &items)?;
        // What compresses well still fills the tail, which is bounded before compression, too.
        let is_apart =
            run.stored_bytes() > inline_bytes as u64 || bytes > layout.inline_commit_bytes;
        is_apart.then_some((run, segments))
    }
}

/// How many commits at the beginning are one group. A large commit is by itself: its run serves again
/// where it is decided about once more.
fn group_at_beginning(commits: &[NewCommit], layout: &Layout) -> usize {
    let is_large = |commit: &NewCommit| commit.is_large(layout);
    let first_large = commits.iter().position(is_large);
    first_large.map_or(commits.len(), |index| index.max(1))
}

fn effect_bytes(effect: &Effect) -> usize {
    let value = effect
        .stored
        .as_ref()
        .map_or(0, |stored| stored.value.len());
    effect.key.as_str().len() + value
}
