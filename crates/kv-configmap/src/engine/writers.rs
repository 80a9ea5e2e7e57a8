use std::sync::Arc;

use kv_core::{Commit, Result, Revision, Transaction};
use prost::Message;

use super::{outcome, proto};

/// How many writers the head remembers.
pub(crate) const WRITERS: usize = 128;

/// How many bytes of outcomes the head keeps, for writers that others have written for. Those of the
/// newest batches stay.
pub(super) const OUTCOME_BYTES: usize = 2_560;

/// The name of one group of transactions that is written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchId {
    /// Drawn at random when the writer started.
    pub(crate) writer: u64,
    /// Counts the batches of the writer; it has one under way at a time.
    pub(crate) counter: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It is in the bucket.
    Applied,
    /// It is not, and no longer can be.
    NotApplied,
    /// So many other writers came since that nobody can tell.
    Unknowable,
}

/// For each recent writer the last batch it applied, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writers {
    recent: Vec<proto::Writer>,
    complete_after: u64,
}

impl Writers {
    pub(super) fn new(recent: Vec<proto::Writer>, complete_after: u64) -> Self {
        Self {
            recent,
            complete_after,
        }
    }

    pub(super) fn recent(&self) -> &[proto::Writer] {
        &self.recent
    }

    pub(super) fn complete_after(&self) -> u64 {
        self.complete_after
    }

    /// Who has written last.
    pub(super) fn newest(&self) -> Option<u64> {
        self.recent.last().map(|writer| writer.id)
    }

    pub(super) fn last_batch_of(&self, writer: u64) -> Option<u64> {
        let mut recent = self.recent.iter();
        let found = recent.find(|recent| recent.id == writer);
        found.map(|writer| writer.counter)
    }

    /// How many writers other than `writer` have applied a batch after the commit `revision` themselves.
    pub(super) fn others_since(&self, revision: Revision, writer: u64) -> usize {
        let newer = |one: &&proto::Writer| one.revision > revision.get();
        let newer = self.recent.iter().rev().take_while(newer);
        let is_other = |one: &&proto::Writer| one.id != writer && one.outcomes.is_none();
        newer.filter(is_other).count()
    }

    /// What became of the last batch of a writer. `None`: this is not known any more, or the writer has
    /// written it itself.
    pub(super) fn outcomes(
        &self,
        batch: BatchId,
        transactions: &[Arc<Transaction>],
    ) -> Option<Vec<Result<Commit>>> {
        let mut recent = self.recent.iter();
        let is_of = |one: &&proto::Writer| one.id == batch.writer && one.counter == batch.counter;
        let writer = recent.find(is_of)?;
        let last = Revision::new(writer.revision);
        outcome::from_proto(transactions, writer.outcomes.as_ref()?, last)
    }

    /// Notes that `batch` was applied, up to the commit `revision`.
    pub(super) fn record(&mut self, batch: BatchId, revision: Revision) {
        self.record_for(batch, revision, None);
    }

    /// Notes that `batch` was applied for its writer, with these outcomes.
    pub(super) fn record_for(
        &mut self,
        batch: BatchId,
        revision: Revision,
        outcomes: Option<proto::Outcomes>,
    ) {
        self.recent.retain(|writer| writer.id != batch.writer);
        let (id, counter, revision) = (batch.writer, batch.counter, revision.get());
        self.recent.push(proto::Writer {
            id,
            counter,
            revision,
            outcomes,
        });
        if self.recent.len() > WRITERS {
            self.complete_after = self.recent.remove(0).revision;
        }
        let mut bytes = 0;
        for writer in self.recent.iter_mut().rev() {
            bytes += writer.outcomes.as_ref().map_or(0, outcome_bytes);
            if bytes > OUTCOME_BYTES && writer.outcomes.is_some() {
                // That somebody else has written it stays known.
                writer.outcomes = Some(proto::Outcomes::default());
            }
        }
    }

    /// Forgets what became of batches up to the commit `revision`.
    pub(super) fn forget_outcomes(&mut self, revision: Revision) {
        let old = |writer: &&mut proto::Writer| writer.revision <= revision.get();
        for writer in self.recent.iter_mut().filter(old) {
            writer.outcomes = None;
        }
    }

    /// What became of `batch`, which was written over the commit `base` and is not under way any
    /// more: the head it was written over has been replaced.
    pub(super) fn resolve(&self, batch: BatchId, base: Revision) -> Resolution {
        match self.recent.iter().find(|writer| writer.id == batch.writer) {
            Some(writer) if writer.counter == batch.counter => Resolution::Applied,
            Some(writer) if writer.counter < batch.counter => Resolution::NotApplied,
            // A later batch of a writer that has only one under way: the head is not the one that
            // this writer knows, as after a restored backup.
            Some(_) => Resolution::Unknowable,
            None if self.complete_after <= base.get() => Resolution::NotApplied,
            None => Resolution::Unknowable,
        }
    }
}

/// What outcomes take in a head.
pub(super) fn outcome_bytes(outcomes: &proto::Outcomes) -> usize {
    let bytes = outcomes.encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(writer: u64, counter: u64) -> BatchId {
        BatchId { writer, counter }
    }

    #[test]
    fn a_writer_finds_its_batch_until_too_many_others_came() {
        let mut writers = Writers::default();
        let base = Revision::new(10);
        assert_eq!(writers.resolve(batch(1, 1), base), Resolution::NotApplied);
        writers.record(batch(1, 1), Revision::new(11));
        assert_eq!(writers.resolve(batch(1, 1), base), Resolution::Applied);
        assert_eq!(writers.resolve(batch(1, 2), base), Resolution::NotApplied);
        for other in 0..WRITERS as u64 - 1 {
            writers.record(batch(100 + other, 1), Revision::new(12 + other));
        }
        assert_eq!(writers.recent().len(), WRITERS);
        assert_eq!(writers.resolve(batch(1, 1), base), Resolution::Applied);
        writers.record(batch(999, 1), Revision::new(500));
        assert_eq!(writers.recent().len(), WRITERS);
        assert_eq!(writers.resolve(batch(1, 1), base), Resolution::Unknowable);
        let newer_base = Revision::new(11);
        assert_eq!(
            writers.resolve(batch(2, 1), newer_base),
            Resolution::NotApplied
        );
    }

    #[test]
    fn those_who_have_written_since_are_counted_once() {
        let mut writers = Writers::default();
        for revision in 1..=6 {
            writers.record(batch(revision % 3, revision), Revision::new(revision));
        }
        assert_eq!(writers.others_since(Revision::ZERO, 7), 3);
        assert_eq!(writers.others_since(Revision::ZERO, 1), 2);
        assert_eq!(writers.others_since(Revision::new(5), 7), 1);
        assert_eq!(writers.others_since(Revision::new(6), 7), 0);
    }

    #[test]
    fn a_writer_that_commits_again_takes_one_place() {
        let mut writers = Writers::default();
        for counter in 1..=3 {
            writers.record(batch(1, counter), Revision::new(counter));
        }
        assert_eq!(writers.recent().len(), 1);
        assert_eq!(
            writers.resolve(batch(1, 2), Revision::ZERO),
            Resolution::Unknowable
        );
    }
}
