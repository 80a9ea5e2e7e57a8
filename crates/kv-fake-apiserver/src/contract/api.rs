//! Raw requests, whose answers are looked at and not interpreted.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::protobuf::{PROTOBUF, first_event};

pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub(super) const METADATA_IN_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub(super) const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// How long a case waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One namespace of a server.
pub(super) struct Api {
    client: Client,
    pub(super) namespace: String,
}

/// The code and the JSON of an answer.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Value,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.body)
    }
}

/// A request in the making.
pub(super) struct Call<'a> {
    api: &'a Api,
    method: &'static str,
    path: String,
    content_type: &'static str,
    accept: Option<&'static str>,
    body: Vec<u8>,
}

/// A ConfigMap of a name, with further fields.
pub(super) fn config_map(name: &str, fields: Value) -> Value {
    object("ConfigMap", name, fields)
}

/// An object of a name, with further fields; those of `metadata` are kept.
pub(super) fn object(kind: &str, name: &str, mut fields: Value) -> Value {
    fields["apiVersion"] = "v1".into();
    fields["kind"] = kind.into();
    fields["metadata"]["name"] = name.into();
    fields
}

impl Api {
    pub(super) fn new(client: Client, namespace: &str) -> Api {
        Api {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// The same server, in another namespace.
    pub(super) fn elsewhere(&self, namespace: &str) -> Api {
        Api::new(self.client.clone(), namespace)
    }

    /// A request to a path below the namespace.
    pub(super) fn call(&self, method: &'static str, path: &str) -> Call<'_> {
        self.call_absolute(
            method,
            &format!("/api/v1/namespaces/{}/{path}", self.namespace),
        )
    }

    pub(super) fn call_absolute(&self, method: &'static str, path: &str) -> Call<'_> {
        let content_type = if method == "PATCH" {
            MERGE
        } else {
            "application/json"
        };
        let path = path.to_owned();
        Call {
            api: self,
            method,
            path,
            content_type,
            accept: None,
            body: Vec::new(),
        }
    }

    pub(super) async fn create(&self, object: &Value) -> Answer {
        self.call("POST", "configmaps?fieldManager=contract")
            .json(object)
            .send()
            .await
    }

    /// Creates a ConfigMap with one entry.
    pub(super) async fn create_one(&self, name: &str) -> Answer {
        let answer = self
            .create(&config_map(name, json!({ "data": { "k": "v" } })))
            .await;
        answer.expect(201)
    }

    pub(super) async fn get(&self, name: &str) -> Answer {
        self.call("GET", &format!("configmaps/{name}")).send().await
    }

    pub(super) async fn put(&self, name: &str, object: &Value) -> Answer {
        let path = format!("configmaps/{name}?fieldManager=contract");
        self.call("PUT", &path).json(object).send().await
    }

    pub(super) async fn patch(&self, name: &str, patch: &Value) -> Answer {
        let path = format!("configmaps/{name}?fieldManager=contract");
        self.call("PATCH", &path).json(patch).send().await
    }

    pub(super) async fn delete(&self, name: &str, options: &Value) -> Answer {
        self.call("DELETE", &format!("configmaps/{name}"))
            .json(options)
            .send()
            .await
    }

    pub(super) async fn list(&self, query: &str) -> Answer {
        self.call("GET", &format!("configmaps?{query}"))
            .send()
            .await
    }
}

impl Call<'_> {
    pub(super) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self
    }

    pub(super) fn raw(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(super) fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    pub(super) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = Some(accept);
        self
    }

    async fn response(self) -> http::Response<Body> {
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(http::header::CONTENT_TYPE, self.content_type);
        if let Some(accept) = self.accept {
            request = request.header(http::header::ACCEPT, accept);
        }
        let request = request
            .body(Body::from(self.body))
            .expect("a well-formed request");
        let answer = timeout(PATIENCE, self.api.client.send(request)).await;
        answer.expect("an answer in time").expect("an answer")
    }

    pub(super) async fn send(self) -> Answer {
        let response = self.response().await;
        let code = response.status().as_u16();
        let bytes = response
            .into_body()
            .collect_bytes()
            .await
            .expect("a whole body");
        let body = serde_json::from_slice(&bytes).expect("a JSON body");
        Answer { code, body }
    }

    /// The code and the body of an answer in another form than JSON.
    pub(super) async fn bytes(self) -> (u16, Bytes) {
        let response = self.response().await;
        let code = response.status().as_u16();
        let body = response.into_body().collect_bytes().await;
        (code, body.expect("a whole body"))
    }

    /// The code alone, of an answer that may be of any form and length.
    pub(super) async fn code(self) -> u16 {
        self.response().await.status().as_u16()
    }

    /// Reads the events of a watch until it ends, or until `enough` of them have come.
    pub(super) async fn watch(self, enough: usize) -> Vec<Value> {
        let lines = |text: &Bytes| {
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            let whole = lines.filter(|line| line.ends_with(b"\n"));
            let event = |line: &[u8]| serde_json::from_slice(line).expect("an event");
            whole.map(event).collect()
        };
        self.stream(enough, lines).await
    }

    /// The same, where the events come in protobuf: the type and the object of each.
    pub(super) async fn watch_in_protobuf(self, enough: usize) -> Vec<(String, Bytes)> {
        let frames = |stream: &Bytes| {
            let mut rest = stream.clone();
            let mut events = Vec::new();
            while let Some((kind, object, after)) = first_event(&rest) {
                events.push((kind, object));
                rest = after;
            }
            events
        };
        self.accept(PROTOBUF).stream(enough, frames).await
    }

    /// Reads a stream until it ends, or until there are `enough` elements in it.
    async fn stream<T>(self, enough: usize, elements: impl Fn(&Bytes) -> Vec<T>) -> Vec<T> {
        let response = self.response().await;
        assert_eq!(response.status().as_u16(), 200, "a watch begins");
        let mut pieces = response.into_body().into_data_stream();
        let mut all = Bytes::new();
        loop {
            let found = elements(&all);
            let piece = match found.len() < enough {
                true => timeout(PATIENCE, pieces.next())
                    .await
                    .expect("an event in time"),
                false => None,
            };
            let Some(piece) = piece else {
                return found;
            };
            let piece = piece.expect("an unbroken stream");
            all = [all.as_ref(), piece.as_ref()].concat().into();
        }
    }
}

impl Answer {
    /// Asserts the code.
    #[track_caller]
    pub(super) fn expect(self, code: u16) -> Answer {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts a refusal with a Status.
    #[track_caller]
    pub(super) fn refused(self, code: u16, reason: &str) -> Answer {
        let answer = self.expect(code);
        assert_eq!(answer.body["kind"], "Status", "{answer:?}");
        assert_eq!(answer.body["status"], "Failure", "{answer:?}");
        assert_eq!(answer.body["code"], code, "{answer:?}");
        assert_eq!(
            answer.body["reason"].as_str().unwrap_or_default(),
            reason,
            "{answer:?}"
        );
        answer
    }

    /// Asserts the whole message of a refusal.
    #[track_caller]
    pub(super) fn saying(self, message: &str) -> Answer {
        assert_eq!(self.body["message"], message, "{self:?}");
        self
    }

    /// Asserts the fields that the causes of a refusal name.
    #[track_caller]
    pub(super) fn because_of(self, fields: &[&str]) -> Answer {
        let causes = self.body["details"]["causes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found: Vec<&str> = causes
            .iter()
            .filter_map(|cause| cause["field"].as_str())
            .collect();
        assert_eq!(found, fields, "{self:?}");
        self
    }

    pub(super) fn metadata(&self, field: &str) -> &Value {
        &self.body["metadata"][field]
    }

    #[track_caller]
    pub(super) fn version(&self) -> u64 {
        version_of(&self.body)
    }

    #[track_caller]
    pub(super) fn uid(&self) -> String {
        self.metadata("uid").as_str().expect("a uid").to_owned()
    }

    /// The names of the items of a list.
    pub(super) fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().into_iter().flatten();
        items
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect()
    }
}

#[track_caller]
pub(super) fn version_of(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    version.parse().expect("a version that is a number")
}
