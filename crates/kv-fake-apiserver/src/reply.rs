//! A whole answer, before it becomes an HTTP response.

use bytes::Bytes;
use kube::core::Status;
use serde_json::{Value, json};

use crate::protobuf::{self, PROTOBUF};
use crate::request::ApiRequest;

/// A code, a body and the headers that matter.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(code: u16, body: impl Into<Bytes>) -> Reply {
        Reply {
            code,
            content_type: "application/json",
            retry_after: None,
            body: body.into(),
        }
    }

    /// In protobuf, where the request wants it and it is JSON.
    pub(crate) fn wanted_by(mut self, request: &ApiRequest) -> Reply {
        if request.wants_protobuf
            && let Some(body) = protobuf::from_json(&self.body)
        {
            self.body = body;
            self.content_type = PROTOBUF;
        }
        self
    }

    pub(crate) fn text(code: u16, content_type: &'static str, body: &'static str) -> Reply {
        Reply {
            code,
            content_type,
            retry_after: None,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    /// The answer that carries a refusal.
    pub(crate) fn refusal(status: &Status) -> Reply {
        let retry_after = status
            .details
            .as_ref()
            .map(|details| details.retry_after_seconds);
        let mut reply = Reply::json(status.code, status_json(status).to_string());
        reply.retry_after = retry_after.filter(|seconds| *seconds > 0).map(u64::from);
        reply
    }
}

/// A Status as the server writes it.
pub(crate) fn status_json(status: &Status) -> Value {
    let mut value = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": status.message,
        "code": status.code,
    });
    if !status.reason.is_empty() {
        value["reason"] = status.reason.as_str().into();
    }
    if let Some(details) = status
        .details
        .as_ref()
        .and_then(|d| serde_json::to_value(d).ok())
    {
        value["details"] = details;
    }
    value
}
