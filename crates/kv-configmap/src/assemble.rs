//! Reading a bucket: its head, and the segments that are not known yet.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use kv_core::Error;
use kv_core::backend::Backoff;
use rand::RngExt;
use tokio::time::sleep;

use crate::engine::{BucketId, SegmentId, SegmentRef, Segments};
use crate::failure::{Failure, FailureKind};
use crate::hooks::Bug;
use crate::known::{Known, Unassembled};
use crate::object::Object;
use crate::shared::{Found, SEGMENTS_AT_ONCE, Shared, is_version, off_runtime};

/// Above this size of a head, reads first ask for the version alone.
const LARGE_HEAD_BYTES: usize = 16 * 1024;

/// Up to this size, all segments of a bucket are read with one request: further connections would
/// take longer than what they fetch, and the answer is still within its bound.
const LISTED_BYTES: u64 = 2 * 1024 * 1024;

/// How often a segment is asked for again.
const FETCH_ATTEMPTS: u32 = 4;

/// How often a read begins again because a segment was merged away meanwhile.
const READS: usize = 8;

/// Why a state could not be put together.
enum ReadError {
    Failure(Failure),
    /// A segment that the head names is gone; it was merged away, or is lost.
    Gone(SegmentId),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failure(Failure::new(FailureKind::Refused, error))
    }
}

impl Shared {
    /// Reads the bucket, linearizably, and makes what was read the known state.
    pub(crate) async fn refresh(&self) -> Result<Known, Failure> {
        loop {
            let (known, generation) = self.known_at();
            if self.hooks.has(Bug::StaleRead) && known.present().is_some() {
                return Ok(known);
            }
            let read = self.read(&known).await?;
            if let Some(newest) = self.publish_read(read, generation) {
                return Ok(newest);
            }
        }
    }

    async fn read(&self, known: &Known) -> Result<Found, Failure> {
        let mut gone = None;
        for _ in 0..READS {
            let Some(object) = self.read_object(known).await? else {
                return Ok(Found::unrelated(known.clone()));
            };
            let version = match &object {
                Some(object) => object.metadata.text("resourceVersion").to_owned(),
                None => return Ok(Found::absent()),
            };
            match self.assemble(object, known).await {
                Ok(found) => return Ok(found),
                Err(ReadError::Failure(failure)) => return Err(failure),
                // The head is the same as before, and still names it.
                Err(ReadError::Gone(id)) if gone == Some((version.clone(), id)) => {
                    return Err(Failure::new(FailureKind::Refused, self.lost(id)));
                }
                Err(ReadError::Gone(id)) => gone = Some((version, id)),
            }
        }
        let reason = "its segments are merged faster than they can be read".to_owned();
        let (store, source) = (self.api.describe(), None);
        let error = Error::Unavailable {
            store,
            reason,
            source,
        };
        Err(Failure::new(FailureKind::Later(None), error))
    }

    /// Reads the head. The outer `None`: it is the known one.
    async fn read_object(&self, known: &Known) -> Result<Option<Option<Object>>, Failure> {
        if let Known::Present(present) = known
            && present.head.head_bytes() > LARGE_HEAD_BYTES
        {
            match self.api.get_metadata().await? {
                None => return Ok(Some(None)),
                Some(metadata) if is_version(&metadata, present) => return Ok(None),
                Some(_) => {}
            }
        }
        let Some(object) = self.api.get().await? else {
            return Ok(Some(None));
        };
        // What would be acknowledged now would be gone with the object.
        if object.metadata.is_terminating() {
            return Err(self.terminating());
        }
        let known = known.present();
        let is_known = known.is_some_and(|known| is_version(&object.metadata, known));
        Ok((!is_known).then_some(Some(object)))
    }

    /// The state of a bucket whose head was read, with the segments that are not known yet.
    async fn assemble(&self, object: Option<Object>, known: &Known) -> Result<Found, ReadError> {
        let Some(object) = object else {
            return Ok(Found::absent());
        };
        let known = known.present().cloned();
        let describe = self.api.describe();
        let bytes = object.bytes();
        let store = describe.clone();
        let earlier = known.clone();
        let read = move || Unassembled::read(&object, &store, earlier.as_deref());
        let unassembled = off_runtime(bytes, read).await.and_then(|read| read)?;
        if !self.layout.has_segments && unassembled.encoded.has_segments() {
            let what = "segments, which a bucket in a single object has not: open it without \
                        `in_single_objects`";
            return Err(self.unsupported(what).into());
        }
        let missing = unassembled
            .encoded
            .missing(known.as_ref().map(|known| &known.head));
        let listed = match &known {
            None => self.list(unassembled.encoded.id(), &missing).await,
            Some(_) => Segments::new(),
        };
        let segments = self.fetch(&missing, listed).await?;
        let bytes = bytes + missing.iter().map(|one| one.bytes as usize).sum::<usize>();
        let assemble = move || unassembled.assemble(&describe, known.as_deref(), &segments);
        let (present, history) = off_runtime(bytes, assemble).await.and_then(|read| read)?;
        Ok(Found {
            known: Known::Present(Arc::new(present)),
            history,
        })
    }

    /// Reads the segments of a bucket of which nothing is known at once, where they are few enough.
    async fn list(&self, bucket: BucketId, segments: &[SegmentRef]) -> Segments {
        let bytes: u64 = segments.iter().map(|one| u64::from(one.bytes)).sum();
        if segments.len() < 2 || bytes > LISTED_BYTES {
            return Segments::new();
        }
        // What is missing in the end is read by itself, and fails by itself.
        let listed = self.api.all_segments(&bucket.to_string()).await;
        listed.unwrap_or_default()
    }

    /// Adds the segments that are not in `found` to it.
    async fn fetch(
        &self,
        segments: &[SegmentRef],
        mut found: Segments,
    ) -> Result<Segments, ReadError> {
        let fetch = |segment: SegmentRef| async move {
            let bytes = self.fetch_one(segment.id).await?;
            let bytes = bytes.ok_or(ReadError::Gone(segment.id))?;
            Ok::<_, ReadError>((segment.id, bytes))
        };
        let rest = segments.iter().filter(|one| !found.contains_key(&one.id));
        let fetches: Vec<_> = rest.map(|segment| fetch(*segment)).collect();
        let fetched = stream::iter(fetches).buffer_unordered(SEGMENTS_AT_ONCE);
        found.extend(fetched.try_collect::<Segments>().await?);
        Ok(found)
    }

    /// With a few attempts: one failure is no reason to read all the others again.
    async fn fetch_one(&self, id: SegmentId) -> Result<Option<Bytes>, Failure> {
        let mut backoff = Backoff::new(self.hooks.random().random());
        loop {
            match self.api.segment(id).await {
                Err(failure) if failure.is_transient() && backoff.attempts() < FETCH_ATTEMPTS => {
                    sleep(failure.wait(&mut backoff)).await;
                }
                fetched => return fetched,
            }
        }
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::Unsupported {
            store: self.api.describe(),
            what: what.to_owned(),
        }
    }

    fn lost(&self, id: SegmentId) -> Error {
        let name = self.api.segment_name(id);
        Error::Corrupt {
            object: self.api.describe(),
            reason: format!("its segment {name} is missing"),
        }
    }

    /// Takes over what a watch tells, which comes in order. `false`: only a read tells what it
    /// means for the known state.
    pub(crate) async fn follow(&self, object: Object) -> bool {
        let (known, generation) = self.known_at();
        let told = object.metadata.resource_version();
        let (Known::Present(present), Ok(told)) = (&known, told) else {
            return false;
        };
        if object.metadata.is_terminating() {
            return false;
        }
        if told <= present.version {
            return true;
        }
        match self.assemble(Some(object), &known).await {
            Ok(found) => self.publish_read(found, generation).is_some(),
            Err(_) => false,
        }
    }
}
