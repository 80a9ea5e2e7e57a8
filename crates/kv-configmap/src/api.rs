use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use kv_core::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, FailureKind};
use crate::object::{Metadata, Object};
use crate::resource::Resource;

/// The longest wait for one answer. The API server itself gives up after 34 s; most of that would
/// be spent on a connection that is dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// More than the largest object in JSON: 1 MiB of base64 and 256 KiB of annotations.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

const JSON: &str = "application/json";
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The requests that a bucket needs, each sent once and answered within a bound.
#[derive(Clone)]
pub(crate) struct HeadApi {
    client: kube::Client,
    resource: Resource,
    namespace: String,
    name: String,
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

impl HeadApi {
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
        missing_is_none(
            self.exchange(Method::GET, self.object_url(), JSON, Bytes::new())
                .await,
        )
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
        let url = format!(
            "{}?fieldManager=kv&fieldValidation=Ignore",
            self.collection_url()
        );
        let answer = self.exchange(Method::POST, url, METADATA_ONLY, body).await;
        answer.map(|answer: OnlyMetadata| answer.metadata)
    }

    /// Replaces the object of the version that the body names.
    pub(crate) async fn replace(&self, body: Bytes) -> Result<Metadata, Failure> {
        let url = format!(
            "{}?fieldManager=kv&fieldValidation=Ignore",
            self.object_url()
        );
        let answer = self.exchange(Method::PUT, url, METADATA_ONLY, body).await;
        answer.map(|answer: OnlyMetadata| answer.metadata)
    }

    /// Deletes the object of that uid and no other.
    pub(crate) async fn delete(&self, uid: &str) -> Result<Deletion, Failure> {
        let body = serde_json::json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": uid },
        });
        let body = Bytes::from(body.to_string());
        let answer = self
            .exchange(Method::DELETE, self.object_url(), JSON, body)
            .await;
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

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        url: String,
        accept: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.send(method, url, accept, body));
        let (status, headers, body) = answer
            .await
            .unwrap_or_else(|_| Err(Failure::of_timeout(&self.describe(), ANSWER_TIMEOUT)))?;
        if !status.is_success() {
            return Err(Failure::of_status(
                &self.describe(),
                status,
                &headers,
                &body,
            ));
        }
        serde_json::from_slice(&body).map_err(|error| self.unreadable(error))
    }

    async fn send(
        &self,
        method: Method,
        url: String,
        accept: &str,
        body: Bytes,
    ) -> Result<(StatusCode, http::HeaderMap, Bytes), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, JSON)
            .body(Body::from(body))
            .map_err(|error| self.unreadable(error))?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| Failure::of_transport(&self.describe(), error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.unreadable(error))?.to_bytes();
        Ok((parts.status, parts.headers, body))
    }

    /// An answer that began and cannot be read: what was asked for may have been done.
    fn unreadable(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        let error = Error::Unavailable {
            store: self.describe(),
            reason: "the answer of the API server cannot be read".to_owned(),
            source: Some(error.into().into()),
        };
        Failure::new(FailureKind::Unknown, error)
    }
}

fn missing_is_none<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.kind == FailureKind::Missing => Ok(None),
        Err(failure) => Err(failure),
    }
}
