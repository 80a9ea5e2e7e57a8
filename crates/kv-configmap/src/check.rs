//! Finding out what is damaged in a bucket. Nothing is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use kv_core::{Error, Result};

use crate::api::BucketApi;
use crate::describe::{BUCKET_ID, PART};
use crate::engine::{
    BucketId, SegmentId, Segments, Survey, format_of, newest_commit_in, survey_without_head,
};
use crate::failure::{Failure, FailureKind};
use crate::handle::Handle;
use crate::known::{Unassembled, check_ours};
use crate::object::{HEAD_KEY, Metadata, Object, SEGMENT_KEY};
use crate::report::{CheckReport, ForeignObject, HeadReport, Orphan, Readable, SegmentReport};
use crate::shared::{Shared, off_runtime};

/// How often a check begins again because segments were merged away meanwhile.
const CHECKS: usize = 8;

/// How many segments are fetched at a time.
const SEGMENTS_AT_ONCE: usize = 8;

/// A report, and the objects of the orphans in it.
pub(crate) struct Checked {
    pub(crate) report: CheckReport,
    pub(crate) orphans: Vec<Metadata>,
}

impl Handle {
    /// Looks at every object of the bucket.
    pub(crate) async fn check(&self) -> Result<Checked> {
        let check = |shared: Arc<Shared>| async move { check(&shared.api).await };
        let checked = self.until_deadline(check).await;
        checked.map_err(|failure| failure.error)
    }
}

async fn check(api: &BucketApi) -> Result<Checked, Failure> {
    let mut missing = BTreeSet::new();
    for _ in 0..CHECKS {
        let look = Look::at(api).await?;
        let found = look.fetch().await?;
        let still_missing = look.missing(&found);
        // One that was not there, and is named by a head that was read later, is not merged away.
        if still_missing.is_subset(&missing) {
            return look.report(found).await;
        }
        missing.extend(still_missing);
    }
    let error = Error::Unavailable {
        store: api.describe(),
        reason: "its segments are merged faster than they can be read".to_owned(),
        source: None,
    };
    Err(Failure::new(FailureKind::Later(None), error))
}

/// What is there, before the segments are looked at.
struct Look<'a> {
    api: &'a BucketApi,
    /// The objects that are named as segments of the bucket; or why they could not be listed.
    listed: Result<Vec<(SegmentId, Metadata)>, String>,
    object: Object,
    /// The head in it, or why it cannot be read.
    head: Result<Unassembled, String>,
}

/// The segments that were fetched.
#[derive(Default)]
struct Found {
    bytes: Segments,
    doomed: BTreeSet<SegmentId>,
}

impl<'a> Look<'a> {
    async fn at(api: &'a BucketApi) -> Result<Self, Failure> {
        // In this order: what is listed was made before the head was read, so that what it holds
        // was committed before, too.
        let listed = match api.named_as_segments().await {
            Ok(listed) => Ok(listed),
            Err(failure) if failure.kind == FailureKind::Refused => Err(failure.error.to_string()),
            Err(failure) => return Err(failure),
        };
        let describe = api.describe();
        let Some(object) = api.get().await? else {
            return Err(refused(Error::NotFound { what: describe }));
        };
        let head = match Unassembled::read(&object, &describe, None) {
            Ok(head) => Ok(head),
            Err(Error::Corrupt { reason, .. }) => Err(reason),
            Err(error) => return Err(refused(error)),
        };
        Ok(Self {
            api,
            listed,
            object,
            head,
        })
    }

    /// The bucket that the head is of, as far as it tells.
    fn bucket(&self) -> Option<BucketId> {
        match &self.head {
            Ok(head) => Some(head.encoded.head().id()),
            Err(_) => BucketId::parse(self.object.metadata.label(BUCKET_ID)?),
        }
    }

    /// The segments that make up the bucket: those that the head names, or that say so themselves.
    fn members(&self) -> BTreeSet<SegmentId> {
        match (&self.head, &self.listed) {
            (Ok(head), _) => head.encoded.head().segments(),
            (Err(_), Ok(listed)) => {
                let ours = listed.iter().filter(|(_, object)| self.is_ours(object));
                ours.map(|(id, _)| *id).collect()
            }
            (Err(_), Err(_)) => BTreeSet::new(),
        }
    }

    /// Whether an object carries the labels of a segment of this bucket.
    fn is_ours(&self, object: &Metadata) -> bool {
        let bucket = self.bucket().map(|id| id.to_string());
        is_segment(object) && bucket.is_some_and(|id| object.label(BUCKET_ID) == Some(&id))
    }

    async fn fetch(&self) -> Result<Found, Failure> {
        let mut found = Found::default();
        let take = |id: SegmentId, object: Object| {
            let is_doomed = !object.metadata.is_kept_with(&self.object.metadata);
            (id, is_doomed, self.bytes_of(&object))
        };
        for (id, is_doomed, bytes) in fetch(self.api, self.members(), take).await? {
            found.bytes.insert(id, bytes);
            found.doomed.extend(is_doomed.then_some(id));
        }
        Ok(found)
    }

    /// What is not there is found out where the bytes are checked.
    fn bytes_of(&self, segment: &Object) -> Bytes {
        segment.data(SEGMENT_KEY).cloned().unwrap_or_default()
    }

    fn missing(&self, found: &Found) -> BTreeSet<SegmentId> {
        let mut missing = self.members();
        missing.retain(|id| !found.bytes.contains_key(id));
        missing
    }
}

/// What makes up a report.
impl Look<'_> {
    async fn report(self, found: Found) -> Result<Checked, Failure> {
        let (orphans, objects) = self.orphans().await?.into_iter().unzip();
        let (foreign, unlisted) = (self.foreign(), self.listed.as_ref().err().cloned());
        let (api, bucket) = (self.api, self.bucket());
        let describe = api.describe();
        let Found { bytes, doomed } = found;
        let weight = bytes.values().map(Bytes::len).sum();
        let work = move || match self.head {
            Ok(head) => examine(head, &self.object, &describe, &bytes),
            Err(reason) => {
                let survey = bucket.map(|bucket| survey_without_head(bucket, &bytes));
                (Err(reason), survey.unwrap_or_default())
            }
        };
        let (head, survey) = off_runtime(weight, work).await.map_err(refused)?;
        let segments = survey.segments.iter();
        let segments = segments.map(|segment| {
            let name = api.segment_name(segment.segment.id);
            SegmentReport::new(name, segment, doomed.contains(&segment.segment.id))
        });
        let report = CheckReport {
            head,
            segments: segments.collect(),
            readable: Readable::from(&survey),
            orphans,
            foreign,
            unlisted,
        };
        Ok(Checked {
            report,
            orphans: objects,
        })
    }

    /// The segments of this bucket that its head does not name. Where it cannot be read, nobody
    /// can tell.
    async fn orphans(&self) -> Result<Vec<(Orphan, Metadata)>, Failure> {
        let (Ok(head), Ok(listed)) = (&self.head, &self.listed) else {
            return Ok(Vec::new());
        };
        let (bucket, named) = (head.encoded.head().id(), self.members());
        let ours = listed.iter().filter(|(_, object)| self.is_ours(object));
        let unnamed = ours.map(|(id, _)| *id).filter(|id| !named.contains(id));
        let last = head.encoded.revision();
        let take = |id: SegmentId, object: Object| {
            let bytes = self.bytes_of(&object);
            let newest = newest_commit_in(bucket, id, &bytes).ok().flatten();
            let orphan = Orphan {
                name: object.metadata.name().to_owned(),
                bytes: bytes.len() as u64,
                is_newer: newest.is_some_and(|newest| newest > last),
            };
            (orphan, object.metadata)
        };
        fetch(self.api, unnamed.collect(), take).await
    }

    /// The objects that are named as segments of this bucket and are not labelled so.
    fn foreign(&self) -> Vec<ForeignObject> {
        let members = self.members();
        let listed = self.listed.iter().flatten();
        let others = listed.filter(|(id, object)| !members.contains(id) && !self.is_ours(object));
        let foreign = |(_, object): &(SegmentId, Metadata)| {
            let name = object.name().to_owned();
            let reason = match check_ours(object, &name) {
                Err(Error::Foreign { reason, .. }) => reason,
                // A bucket can have such a name.
                _ if !is_segment(object) => return None,
                _ => "it is labelled as a segment of another bucket".to_owned(),
            };
            Some(ForeignObject { name, reason })
        };
        others.filter_map(foreign).collect()
    }
}

/// Puts the state together, to be sure, and looks what can be read where that fails.
fn examine(
    head: Unassembled,
    object: &Object,
    describe: &str,
    segments: &Segments,
) -> (Result<HeadReport, String>, Survey) {
    let survey = head.encoded.survey(segments);
    let bytes = object.data(HEAD_KEY).cloned().unwrap_or_default();
    let mut report = HeadReport {
        format: format_of(&bytes).unwrap_or_default(),
        revision: head.encoded.revision(),
        stored_bytes: head.encoded.head().stored_bytes(),
        live_bytes: None,
        frozen: frozen(object),
    };
    match head.assemble(describe, None, segments) {
        Ok((present, _)) => report.live_bytes = Some(present.head.live_bytes()),
        Err(_) if !survey.lost.is_empty() => {}
        // Each part is whole, and yet they do not go together.
        Err(Error::Corrupt { reason, .. }) => return (Err(reason), survey),
        Err(error) => return (Err(error.to_string()), survey),
    }
    (Ok(report), survey)
}

/// Why the object takes no writes.
fn frozen(object: &Object) -> Option<String> {
    let reason = if object.metadata.is_terminating() {
        "it is being deleted and waits for its finalizers"
    } else if object.is_immutable {
        "somebody has made it immutable"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

fn is_segment(object: &Metadata) -> bool {
    check_ours(object, "").is_ok() && object.label(PART) == Some("segment")
}

/// Fetches segments, in the order of their ids, and takes from each what is needed. Those that are
/// gone are left out.
async fn fetch<T: Send>(
    api: &BucketApi,
    ids: BTreeSet<SegmentId>,
    take: impl Fn(SegmentId, Object) -> T + Sync,
) -> Result<Vec<T>, Failure> {
    let take = &take;
    let fetch = |id: SegmentId| async move {
        let object = api.segment_object(id).await?;
        Ok(object.map(|object| take(id, object)))
    };
    let fetches: Vec<_> = ids.into_iter().map(fetch).collect();
    let fetched = stream::iter(fetches).buffered(SEGMENTS_AT_ONCE);
    let fetched: Vec<_> = fetched.try_collect().await?;
    Ok(fetched.into_iter().flatten().collect())
}

fn refused(error: Error) -> Failure {
    Failure::new(FailureKind::Refused, error)
}
