use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use kv_core::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::LengthDelimitedCodec;
use tokio_util::io::StreamReader;

use crate::describe::{BUCKET_ID, PART, describe_offer, describe_segment};
use crate::engine::{BucketId, NewSegment, Offer, ResourceVersion, SegmentId, Segments};
use crate::failure::{Failure, FailureKind};
use crate::object::{JsonObject, Metadata, Object, head_body};
use crate::protobuf::{self, PROTOBUF, Told};
use crate::resource::Resource;

/// The longest wait for one answer. The API server itself gives up after 34 s; most of that would
/// be spent on a connection that is dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server keeps a watch open.
pub(crate) const WATCH_TIMEOUT: Duration = Duration::from_secs(240);

/// More than the largest object in JSON: 1 MiB of base64 and 256 KiB of annotations. So much, too, of
/// an event of a watch.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The body of a request, and its media type.
pub(crate) type Content = (&'static str, Bytes);

/// About what an object takes in etcd that is sent so.
pub(crate) fn stored_bytes((content_type, body): &Content) -> usize {
    match *content_type {
        JSON => body.len() / 4 * 3,
        _ => body.len(),
    }
}

/// Who writes; and that fields are not looked at that the server does not know.
const AS_KV: &str = "fieldManager=kv&fieldValidation=Ignore";

const NOTHING: Content = (JSON, Bytes::new());
const JSON: &str = "application/json";
const NO_OBJECT: &str = "not an object in protobuf";
const METADATA_ONLY_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Where no more is read of it than the version.
const VERSION_ONLY: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The requests that a bucket needs, each sent once and answered within a bound.
#[derive(Clone)]
pub(crate) struct BucketApi {
    client: kube::Client,
    resource: Resource,
    namespace: String,
    name: String,
}

/// How many segments one page of a list has; and how many objects of others, whose annotations may
/// take a quarter of a mebibyte each.
const PAGE: usize = 500;
const PAGE_OF_OTHERS: usize = 50;

#[derive(Deserialize)]
struct List<T> {
    metadata: Metadata,
    // An empty list of metadata is `null`.
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct OnlyMetadata {
    metadata: Metadata,
}

/// A deletion is answered with a Status, or with the object where finalizers still hold it.
#[derive(Deserialize)]
struct OnlyKind {
    kind: String,
}

/// What has become of an object that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    Done,
    /// It is there until its finalizers are removed.
    Pending,
}

impl BucketApi {
    pub(crate) fn new(
        client: kube::Client,
        resource: Resource,
        namespace: String,
        name: String,
    ) -> Self {
        Self {
            client,
            resource,
            namespace,
            name,
        }
    }

    pub(crate) fn resource(&self) -> Resource {
        self.resource
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.name
    }

    /// The bucket in messages: `configmap default/approvals`.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} {}/{}",
            self.resource.singular(),
            self.namespace,
            self.name
        )
    }

    pub(crate) fn describe_namespace(&self) -> String {
        format!("namespace {}", self.namespace)
    }

    /// The metadata of an object that is to be made.
    pub(crate) fn new_metadata(&self) -> Metadata {
        Metadata::named(&self.name, &self.namespace)
    }

    /// Reads the object, linearizably.
    pub(crate) async fn get(&self) -> Result<Option<Object>, Failure> {
        self.get_object(self.object_url()).await
    }

    async fn get_object(&self, url: String) -> Result<Option<Object>, Failure> {
        let answer = self.answer(Method::GET, url.clone(), PROTOBUF, NOTHING);
        let Some(answer) = missing_is_none(answer.await)? else {
            return Ok(None);
        };
        if let Some(object) = protobuf::object(self.resource, &answer) {
            return Ok(Some(object));
        }
        let answer = self.exchange(Method::GET, url, JSON, Bytes::new()).await;
        let object = missing_is_none(answer)?;
        Ok(object.map(|object: JsonObject| object.into_object(self.resource)))
    }

    /// Reads the metadata of the object, linearizably.
    pub(crate) async fn get_metadata(&self) -> Result<Option<Metadata>, Failure> {
        let url = self.object_url();
        let answer = self
            .exchange(Method::GET, url, METADATA_ONLY, Bytes::new())
            .await;
        Ok(missing_is_none(answer)?.map(|answer: OnlyMetadata| answer.metadata))
    }

    /// Makes the object, unless there is one of its name.
    pub(crate) async fn create(&self, body: Bytes) -> Result<Metadata, Failure> {
        let answer = self.create_of((JSON, body), METADATA_ONLY).await?;
        let answer: OnlyMetadata = self.read(&answer)?;
        Ok(answer.metadata)
    }

    async fn create_of(&self, content: Content, accept: &str) -> Result<Bytes, Failure> {
        let url = format!("{}?{AS_KV}", self.collection_url());
        self.answer(Method::POST, url, accept, content).await
    }

    /// Replaces the object of the version that the body names.
    pub(crate) async fn replace(&self, content: Content) -> Result<Metadata, Failure> {
        let url = format!("{}?{AS_KV}", self.object_url());
        let answer = self.answer(Method::PUT, url, METADATA_ONLY, content);
        let answer: OnlyMetadata = self.read(&answer.await?)?;
        Ok(answer.metadata)
    }

    /// What to send to replace a head.
    pub(crate) fn head_content(&self, metadata: &Metadata, head: &Bytes) -> Content {
        match protobuf::head_body(self.resource, metadata, head) {
            Some(body) => (PROTOBUF, body),
            None => (JSON, head_body(self.resource, metadata, head)),
        }
    }

    /// Deletes the object of that uid and no other.
    pub(crate) async fn delete(&self, uid: &str) -> Result<Deletion, Failure> {
        self.delete_object(self.object_url(), uid).await
    }

    /// Reads the object and the version of the collection, from which on it can be watched.
    pub(crate) async fn list(&self) -> Result<(String, Option<Object>), Failure> {
        let url = format!("{}?{}", self.collection_url(), self.by_name());
        let list: List<JsonObject> = self.exchange(Method::GET, url, JSON, Bytes::new()).await?;
        let version = list.metadata.text("resourceVersion").to_owned();
        let object = list.items.into_iter().flatten().next();
        Ok((version, object.map(|one| one.into_object(self.resource))))
    }

    /// Follows the object from `version` on.
    pub(crate) async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = io::Result<Told>> + use<>, Failure> {
        self.watch_of(version, &self.by_name()).await
    }

    /// Follows the offers of a bucket from `version` on.
    pub(crate) async fn watch_offers(
        &self,
        bucket: &str,
        version: &str,
    ) -> Result<impl Stream<Item = io::Result<Told>> + use<>, Failure> {
        self.watch_of(version, &part_of(bucket, "offer")).await
    }

    async fn watch_of(
        &self,
        version: &str,
        selector: &str,
    ) -> Result<impl Stream<Item = io::Result<Told>> + use<>, Failure> {
        let seconds = WATCH_TIMEOUT.as_secs();
        let url = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}&{selector}",
            self.collection_url(),
        );
        let opening = self.open(Method::GET, url, PROTOBUF, NOTHING);
        let body = self.in_time(opening).await?;
        let body = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        // The length of each is in front of it.
        let mut frames = LengthDelimitedCodec::builder();
        let frames = frames.max_frame_length(ANSWER_BYTES).new_read(body);
        let resource = self.resource;
        Ok(frames.map(move |frame| Ok(protobuf::told(resource, frame?.freeze()))))
    }

    fn by_name(&self) -> String {
        format!("fieldSelector=metadata.name%3D{}", self.name)
    }

    /// Reads a segment. `None`: it is gone.
    pub(crate) async fn segment(&self, id: SegmentId) -> Result<Option<Bytes>, Failure> {
        let answer = self.answer(Method::GET, self.segment_url(id), PROTOBUF, NOTHING);
        let Some(answer) = missing_is_none(answer.await)? else {
            return Ok(None);
        };
        // What is not there is found out where the bytes are checked.
        let segment = protobuf::segment(self.resource, &answer);
        let segment = segment.ok_or_else(|| self.unreadable(NO_OBJECT))?;
        Ok(Some(segment.bytes))
    }

    /// Reads the object of a segment. `None`: it is gone.
    pub(crate) async fn segment_object(&self, id: SegmentId) -> Result<Option<Object>, Failure> {
        self.get_object(self.segment_url(id)).await
    }

    /// Reads all segments of a bucket with one request, those that its head does not name
    /// included.
    pub(crate) async fn all_segments(&self, bucket: &str) -> Result<Segments, Failure> {
        let url = format!("{}?{}", self.collection_url(), segments_of(bucket));
        let answer = self.answer(Method::GET, url, PROTOBUF, NOTHING).await?;
        let segments = protobuf::segments(self.resource, &answer);
        let segments = segments.ok_or_else(|| self.unreadable(NO_OBJECT))?;
        let segments = segments.into_iter();
        Ok(segments
            .filter_map(|one| Some((self.segment_id(&one.name)?, one.bytes)))
            .collect())
    }

    /// Makes a segment that belongs to the head `owner`.
    pub(crate) async fn create_segment(
        &self,
        bucket: BucketId,
        segment: &NewSegment,
        owner: &Metadata,
    ) -> Result<(), Failure> {
        let mut metadata = Metadata::named(&self.segment_name(segment.id), &self.namespace);
        describe_segment(&mut metadata, &self.name, bucket, segment.bytes.len());
        metadata.set_owner(self.resource, owner);
        let body = protobuf::segment_body(self.resource, &metadata, &segment.bytes);
        match self.create_of((PROTOBUF, body), VERSION_ONLY).await {
            // An earlier request has made it: nobody else uses its name.
            Err(failure) if failure.kind == FailureKind::AlreadyExists => Ok(()),
            // About another object: the quota of the namespace was changed meanwhile.
            Err(failure) if failure.kind == FailureKind::Conflict => {
                Err(Failure::new(FailureKind::Later(None), failure.error))
            }
            // What says nothing of an object need not be of the API server.
            created => match protobuf::version(&created?) {
                Some(_) => Ok(()),
                None => Err(self.unreadable(NO_OBJECT)),
            },
        }
    }

    /// Offers a batch, in place of the one that its writer has offered before; the version at which it
    /// is, if that was told.
    pub(crate) async fn offer(
        &self,
        offer: &Offer,
        bytes: &Bytes,
        owner: &Metadata,
    ) -> Result<Option<ResourceVersion>, Failure> {
        let name = self.offer_name(offer.batch.writer);
        let mut metadata = Metadata::named(&name, &self.namespace);
        describe_offer(&mut metadata, &self.name, offer.bucket);
        metadata.set_owner(self.resource, owner);
        let body = protobuf::offer_body(self.resource, &metadata, bytes);
        let url = format!("{}/{name}?{AS_KV}", self.collection_url());
        let content = (PROTOBUF, body);
        let answer = self.answer(Method::PUT, url, VERSION_ONLY, content.clone());
        let answer = match answer.await {
            // It is the first, or the one before was removed when nobody needed it.
            Err(failure) if failure.kind == FailureKind::Missing => {
                self.create_of(content, VERSION_ONLY).await
            }
            replaced => replaced,
        };
        Ok(protobuf::version(&answer?))
    }

    /// The metadata of all offers of a bucket.
    pub(crate) async fn offers(&self, bucket: &str) -> Result<Vec<Metadata>, Failure> {
        let selector = format!("&{}", part_of(bucket, "offer"));
        self.list_metadata(&selector, PAGE, Some).await
    }

    /// The metadata of all segments of a bucket: not those of a copy of it under another name.
    pub(crate) async fn segments(&self, bucket: &str) -> Result<Vec<Metadata>, Failure> {
        let selector = format!("&{}", segments_of(bucket));
        let ours = |object: Metadata| self.segment_id(object.name()).is_some().then_some(object);
        self.list_metadata(&selector, PAGE, ours).await
    }

    /// The metadata of all objects that are named as segments of this bucket, whatever they are.
    pub(crate) async fn named_as_segments(&self) -> Result<Vec<(SegmentId, Metadata)>, Failure> {
        let named = |object: Metadata| Some((self.segment_id(object.name())?, object));
        self.list_metadata("", PAGE_OF_OTHERS, named).await
    }

    /// Lists what `take` takes, page by page.
    async fn list_metadata<T>(
        &self,
        selector: &str,
        page: usize,
        take: impl Fn(Metadata) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let url = format!(
                "{}?limit={page}{selector}&continue={after}",
                self.collection_url()
            );
            let answer = self
                .exchange(Method::GET, url, METADATA_ONLY_LIST, Bytes::new())
                .await;
            let list: List<OnlyMetadata> = answer?;
            let items = list.items.into_iter().flatten();
            found.extend(items.filter_map(|item| take(item.metadata)));
            after = urlencode(list.metadata.text("continue"));
            if after.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Deletes a segment; one that is gone is no failure.
    pub(crate) async fn delete_segment(&self, segment: &Metadata) -> Result<(), Failure> {
        let url = format!("{}/{}", self.collection_url(), segment.name());
        match self.delete_object(url, segment.uid()).await {
            Err(failure)
                if matches!(failure.kind, FailureKind::Missing | FailureKind::Conflict) =>
            {
                Ok(())
            }
            deleted => deleted.map(drop),
        }
    }

    fn offer_name(&self, writer: u64) -> String {
        format!("{}.offer-{writer:016x}", self.name)
    }

    pub(crate) fn segment_name(&self, id: SegmentId) -> String {
        format!("{}.{id}", self.name)
    }

    /// The segment that an object is named as.
    fn segment_id(&self, object: &str) -> Option<SegmentId> {
        let id = object.strip_prefix(&self.name)?.strip_prefix('.')?;
        SegmentId::parse(id)
    }

    async fn delete_object(&self, url: String, uid: &str) -> Result<Deletion, Failure> {
        let body = serde_json::json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": uid },
        });
        let body = Bytes::from(body.to_string());
        let answer = self.exchange(Method::DELETE, url, JSON, body).await;
        answer.map(|answer: OnlyKind| match answer.kind.as_str() {
            "Status" => Deletion::Done,
            _ => Deletion::Pending,
        })
    }

    fn collection_url(&self) -> String {
        format!(
            "/api/v1/namespaces/{}/{}",
            self.namespace,
            self.resource.plural()
        )
    }

    fn object_url(&self) -> String {
        format!("{}/{}", self.collection_url(), self.name)
    }

    fn segment_url(&self, id: SegmentId) -> String {
        format!("{}/{}", self.collection_url(), self.segment_name(id))
    }

    /// Sends JSON, and reads the answer as such.
    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        url: String,
        accept: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let answer = self.answer(method, url, accept, (JSON, body)).await?;
        self.read(&answer)
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(answer).map_err(|error| self.unreadable(error))
    }

    /// The body of the answer to a request that succeeded.
    async fn answer(
        &self,
        method: Method,
        url: String,
        accept: &str,
        content: Content,
    ) -> Result<Bytes, Failure> {
        let answer = async {
            self.collect(self.open(method, url, accept, content).await?)
                .await
        };
        self.in_time(answer).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        answer.unwrap_or_else(|_| Err(Failure::of_timeout(&self.describe(), ANSWER_TIMEOUT)))
    }

    /// Sends a request; where it succeeds, the answer can be read.
    async fn open(
        &self,
        method: Method,
        url: String,
        accept: &str,
        (content_type, body): Content,
    ) -> Result<Body, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, accept)
            // Our data is compressed already, and lists of metadata are rare; and of a watch that
            // the server compresses, kube reads the first event only.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .map_err(|error| self.unreadable(error))?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| Failure::of_transport(&self.describe(), error))?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let (store, body) = (self.describe(), self.collect(body).await?);
        let (status, headers) = (parts.status, &parts.headers);
        Err(Failure::of_status(&store, status, headers, &body))
    }

    async fn collect(&self, body: Body) -> Result<Bytes, Failure> {
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        Ok(body.map_err(|error| self.unreadable(error))?.to_bytes())
    }

    /// An answer that began and cannot be read: what was asked for may have been done.
    pub(crate) fn unreadable(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Failure {
        let error = Error::Unavailable {
            store: self.describe(),
            reason: "the answer of the API server cannot be read".to_owned(),
            source: Some(error.into().into()),
        };
        Failure::new(FailureKind::Unknown, error)
    }
}

/// Selects the segments of a bucket.
fn segments_of(bucket: &str) -> String {
    part_of(bucket, "segment")
}

fn part_of(bucket: &str, part: &str) -> String {
    format!(
        "labelSelector={}%3D{bucket}%2C{}%3D{part}",
        BUCKET_ID.replace('/', "%2F"),
        PART.replace('/', "%2F"),
    )
}

/// Encodes a token for a query; tokens are base64.
fn urlencode(token: &str) -> String {
    token
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

fn missing_is_none<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.kind == FailureKind::Missing => Ok(None),
        Err(failure) => Err(failure),
    }
}
