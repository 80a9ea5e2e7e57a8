//! What can be read of a bucket in spite of damage.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kv_core::Revision;

use super::assemble::{Encoded, Segments};
use super::head::Head;
use super::run::{self, Run, SegmentRef};
use super::segment::{self, SegmentId};
use super::state::{Item, Range, State};
use super::{BucketId, DecodeError};

/// What was found out about a bucket, segment by segment.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) segments: Vec<Examined>,
    /// The commits whose changes cannot all be read, and why.
    pub(crate) lost: Vec<(Range, DecodeError)>,
    /// The commits whose changes can.
    pub(crate) readable: Vec<Range>,
    state: State,
    is_headless: bool,
}

/// A segment that was looked at.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) segment: SegmentRef,
    /// The commits that it is for, where a head says so.
    pub(crate) range: Option<Range>,
    pub(crate) damage: Option<DecodeError>,
}

impl Survey {
    /// The keys of which an entry was found.
    pub(crate) fn entries(&self) -> u64 {
        self.state.snapshot().len() as u64
    }

    /// The entries that nothing which was lost can have changed or removed.
    pub(crate) fn certain(&self) -> u64 {
        if self.is_headless {
            return 0;
        }
        let lost = self.lost.iter().map(|(range, _)| range.through).max();
        let entries = self.state.snapshot().iter();
        let certain = entries.filter(|entry| lost.is_none_or(|lost| entry.revision > lost));
        certain.count() as u64
    }

    fn load(&mut self, items: impl IntoIterator<Item = Item>) {
        for item in items {
            self.state.load(item);
        }
    }

    /// Notes whether the changes of these commits can be read.
    fn note(&mut self, range: Range, damage: Option<DecodeError>) {
        match (damage, self.readable.last_mut()) {
            _ if range.after >= range.through => {}
            (Some(damage), _) => self.lost.push((range, damage)),
            (None, Some(last)) if last.through == range.after => last.through = range.through,
            (None, _) => self.readable.push(range),
        }
    }
}

impl Encoded {
    /// The head, whose state is empty until it is assembled.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The last commit that the head tells of.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Reads what can be read. A segment that is not among `segments` is missing.
    pub(crate) fn survey(&self, segments: &Segments) -> Survey {
        let mut survey = Survey::default();
        let mut after = Revision::ZERO;
        for run in &self.head.runs {
            let through = run.revision;
            self.survey_run(&mut survey, run, Range { after, through }, segments);
            after = through;
        }
        self.survey_base(&mut survey, after);
        self.survey_tail(&mut survey, segments);
        survey
    }

    fn survey_base(&self, survey: &mut Survey, after: Revision) {
        let through = self.head.base.revision;
        let (items, damage) = match self.head.base.items() {
            Ok(items) => (items, None),
            Err(damage) => (Vec::new(), Some(damage)),
        };
        survey.load(items);
        survey.note(Range { after, through }, damage);
    }

    fn survey_tail(&self, survey: &mut Survey, segments: &Segments) {
        let base = self.head.base.revision;
        let mut after = base;
        for logged in self.head.tail.after(base) {
            let through = logged.revision;
            let range = Range { after, through };
            after = through;
            let commit = match logged.decode() {
                Ok(commit) => commit,
                Err(damage) => {
                    survey.note(range, Some(damage));
                    continue;
                }
            };
            match &commit.run {
                Some(run) => self.survey_run(survey, run, range, segments),
                None => {
                    survey.note(range, None);
                    let effects = commit.effects.iter();
                    survey.load(effects.map(|effect| Item::of(effect, through)));
                    let reclaimed = commit.reclaimed.iter().cloned();
                    survey.load(reclaimed.map(|key| Item::Tombstone(key, through)));
                }
            }
        }
    }

    fn survey_run(&self, survey: &mut Survey, run: &Run, range: Range, segments: &Segments) {
        let id = self.head.id;
        for segment in &run.segments {
            let damage = match segments.get(&segment.id) {
                None => Some(DecodeError::MissingSegment(segment.id)),
                Some(bytes) => segment::read(id, segment.id, bytes).err(),
            };
            survey.segments.push(Examined {
                segment: *segment,
                range: Some(range),
                damage,
            });
        }
        match run::read(id, run, &|segment| segments.get(&segment).cloned()) {
            Ok(items) => {
                survey.load(items);
                survey.note(range, None);
            }
            Err(damage) => {
                let pieces = run.segments.iter().map_while(|segment| {
                    segment::read(id, segment.id, segments.get(&segment.id)?).ok()
                });
                survey.load(leading_items(pieces, run.revision));
                survey.note(range, Some(damage));
            }
        }
    }
}

/// Reads what can be read of segments without the head that names them. Which commits they hold,
/// and which are missing, is not known then.
pub(crate) fn survey_without_head(bucket: BucketId, segments: &Segments) -> Survey {
    let mut survey = Survey {
        is_headless: true,
        ..Survey::default()
    };
    let mut runs = BTreeMap::<u64, BTreeMap<u32, Bytes>>::new();
    for (id, stored) in segments {
        let bytes = stored.len() as u32;
        let damage = match segment::piece(bucket, *id, stored) {
            Ok(piece) => {
                let run = runs.entry(piece.nonce).or_default();
                run.insert(piece.number, piece.raw);
                None
            }
            Err(damage) => Some(damage),
        };
        survey.segments.push(Examined {
            segment: SegmentRef { id: *id, bytes },
            range: None,
            damage,
        });
    }
    survey.segments.sort_by_key(|examined| examined.segment.id);
    for run in runs.into_values() {
        let in_turn = (0..)
            .zip(run)
            .map_while(|(turn, (number, raw))| (turn == number).then_some(raw));
        survey.load(leading_items(in_turn, Revision::ZERO));
    }
    survey
}

/// The newest commit that a segment is of, as far as it tells; it must have come about.
pub(crate) fn newest_commit_in(
    bucket: BucketId,
    id: SegmentId,
    stored: &Bytes,
) -> Result<Option<Revision>, DecodeError> {
    let piece = segment::piece(bucket, id, stored)?;
    // Only the first piece of a run begins with an entry.
    let first = (piece.number == 0 && !piece.is_ahead).then_some(piece.raw);
    let items = leading_items(first.into_iter(), Revision::ZERO);
    let newest = items.iter().map(Item::revision).max();
    Ok(newest.filter(|revision| *revision > Revision::ZERO))
}

/// The entries at the beginning of a run whose end may be missing; `of` stands for a revision that
/// is left out.
fn leading_items(pieces: impl Iterator<Item = Bytes>, of: Revision) -> Vec<Item> {
    let mut raw = BytesMut::new();
    pieces.for_each(|piece| raw.extend_from_slice(&piece));
    let entries = run::entries(raw.freeze(), of);
    entries.map_while(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::segment::Target;
    use kv_core::{Entry, Key};

    const BUCKET: BucketId = BucketId([7; 16]);

    fn items(count: u64) -> Vec<Item> {
        let item = |number: u64| {
            Item::Entry(Entry {
                key: Key::new(format!("key {number:04}")).unwrap(),
                value: vec![number as u8; 40].into(),
                revision: Revision::new(number + 1),
                expires_at: None,
            })
        };
        (0..count).map(item).collect()
    }

    #[test]
    fn what_is_before_a_cut_is_read_and_nothing_else() {
        let items = items(20);
        let raw = Bytes::from(run::encode(&items, None));
        for cut in 0..=raw.len() {
            let read = leading_items([raw.slice(..cut)].into_iter(), Revision::ZERO);
            assert_eq!(read, items[..read.len()], "{cut}");
            assert!(read.len() * raw.len() <= items.len() * cut + raw.len());
        }
        assert_eq!(leading_items([raw].into_iter(), Revision::ZERO), items);
    }

    #[test]
    fn what_is_no_message_is_read_as_nothing() {
        for noise in [
            &b"\x0a"[..],
            b"\x0a\xff",
            b"\x0a\x05abc",
            b"\x12\x00",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            let pieces = [Bytes::from_static(noise)].into_iter();
            assert!(leading_items(pieces, Revision::ZERO).is_empty());
        }
    }

    #[test]
    fn segments_without_their_head_are_put_in_order_and_read_up_to_the_first_that_is_missing() {
        let items = items(400);
        let raw = run::encode(&items, None);
        let written = segment::write(&Target::of_state(BUCKET, 5, 256), &raw);
        assert!(written.len() > 3);
        let all: Segments = written
            .iter()
            .map(|one| (one.id, one.bytes.clone()))
            .collect();
        assert_eq!(survey_without_head(BUCKET, &all).entries(), 400);
        let mut gap = all.clone();
        gap.remove(&written[1].id);
        let read = survey_without_head(BUCKET, &gap).entries();
        assert!((1..400).contains(&read), "{read}");
        let newest = newest_commit_in(BUCKET, written[0].id, &written[0].bytes).unwrap();
        assert_eq!(newest, Some(Revision::new(read)));
        let later = newest_commit_in(BUCKET, written[1].id, &written[1].bytes).unwrap();
        assert_eq!(later, None);
    }
}
