use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use kv_core::backend::Backoff;
use kv_core::{Error, Source};
use serde::Deserialize;

use crate::protobuf;

/// The longest `Retry-After` that is waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Why a request failed, and what that says about its effect.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// What a caller gets to read if nothing better can be done.
    pub(crate) error: Error,
}

/// What a failed request says about its effect.
///
/// Which answers leave the outcome of a write open follows from the handlers of the API server:
/// it goes on with a write after it has answered 504, and reports errors of etcd, timeouts
/// included, as 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Not applied: the version or the uid is not the one that was demanded.
    Conflict,
    /// Not applied: there is an object of that name.
    AlreadyExists,
    /// Not applied: there is no such object, or no such namespace.
    Missing,
    /// Not applied, and the same request would fail again.
    Refused,
    /// Not applied; the same request may succeed later.
    Later(Option<Duration>),
    /// Perhaps applied, perhaps not yet.
    Unknown,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, error: Error) -> Self {
        Self { kind, error }
    }

    /// Whether a read that failed so may be tried again.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.kind, FailureKind::Later(_) | FailureKind::Unknown)
    }

    /// How long to wait before the next request: as long as the server asks for, within reason,
    /// because one answer must not stop a bucket for an hour.
    pub(crate) fn wait(&self, backoff: &mut Backoff) -> Duration {
        let asked = match self.kind {
            FailureKind::Later(wait) => wait.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        asked.min(LONGEST_RETRY_AFTER).max(backoff.next_wait())
    }

    /// A request that got no answer.
    pub(crate) fn of_transport(store: &str, error: kube::Error) -> Self {
        let error: Source = Arc::new(error);
        let store = store.to_owned();
        if causes(&*error).any(<dyn std::error::Error>::is::<kube::client::AuthError>) {
            let reason = format!("no credentials: {}", innermost(&*error));
            return Self::new(FailureKind::Refused, Error::Forbidden { store, reason });
        }
        let never_sent = causes(&*error).any(is_connect_error);
        let kind = if never_sent {
            FailureKind::Later(None)
        } else {
            FailureKind::Unknown
        };
        let reason = match kind {
            FailureKind::Later(_) => "the API server cannot be reached",
            _ => "the connection to the API server broke",
        };
        let (reason, source) = (reason.to_owned(), Some(error));
        Self::new(
            kind,
            Error::Unavailable {
                store,
                reason,
                source,
            },
        )
    }

    /// A request that was not answered in time.
    pub(crate) fn of_timeout(store: &str, after: Duration) -> Self {
        let reason = format!("no answer within {after:?}");
        let store = store.to_owned();
        Self::new(
            FailureKind::Unknown,
            Error::Unavailable {
                store,
                reason,
                source: None,
            },
        )
    }

    /// A request that was answered with an error.
    pub(crate) fn of_status(
        store: &str,
        code: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Self {
        let status = Status::parse(code, body);
        let kind = status.kind(code, headers);
        let (store, reason) = (store.to_owned(), status.describe(code));
        let error = match kind {
            _ if code == StatusCode::TOO_MANY_REQUESTS => Error::Throttled {
                store,
                retry_after: retry_after(headers, &status),
            },
            FailureKind::Missing => Error::NotFound { what: store },
            FailureKind::Refused if status.is_etcd_full() => Error::Unavailable {
                store,
                reason: format!("{reason}; the cluster's etcd needs its operator"),
                source: None,
            },
            FailureKind::Refused => Error::Forbidden { store, reason },
            _ => Error::Unavailable {
                store,
                reason,
                source: None,
            },
        };
        Self::new(kind, error)
    }
}

/// What the API server says about a failure. Not every body is one: proxies and its own flow
/// control answer in plain text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) message: String,
    reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

impl From<protobuf::Status> for Status {
    fn from(status: protobuf::Status) -> Self {
        let details = status.details.unwrap_or_default();
        Self {
            message: status.message,
            reason: status.reason,
            details: Details {
                retry_after_seconds: details.retry_after_seconds.into(),
            },
        }
    }
}

impl Status {
    fn parse(code: StatusCode, body: &Bytes) -> Self {
        let json = serde_json::from_slice(body).ok();
        json.or_else(|| protobuf::status(body).map(Self::from))
            .unwrap_or_else(|| Self {
                message: code.canonical_reason().unwrap_or("an error").to_owned(),
                ..Self::default()
            })
    }

    fn describe(&self, code: StatusCode) -> String {
        format!("{} (HTTP {})", self.message, code.as_u16())
    }

    fn is_etcd_full(&self) -> bool {
        self.message.contains("database space exceeded")
    }

    fn kind(&self, code: StatusCode, headers: &HeaderMap) -> FailureKind {
        match code {
            StatusCode::NOT_FOUND if self.reason == "NotFound" => FailureKind::Missing,
            StatusCode::CONFLICT if self.reason == "AlreadyExists" => FailureKind::AlreadyExists,
            StatusCode::CONFLICT if self.reason == "Conflict" => FailureKind::Conflict,
            // Of a proxy, which says nothing about the object.
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => FailureKind::Unknown,
            StatusCode::TOO_MANY_REQUESTS => FailureKind::Later(retry_after(headers, self)),
            StatusCode::SERVICE_UNAVAILABLE
                if self.reason == "ServiceUnavailable"
                    && self.message.contains("shutting down") =>
            {
                FailureKind::Later(retry_after(headers, self))
            }
            // Of a proxy that has waited for the answer.
            StatusCode::REQUEST_TIMEOUT => FailureKind::Unknown,
            code if code.is_client_error() => FailureKind::Refused,
            _ if self.is_etcd_full() => FailureKind::Refused,
            _ => FailureKind::Unknown,
        }
    }
}

fn retry_after(headers: &HeaderMap, status: &Status) -> Option<Duration> {
    let header = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.trim().parse().ok());
    let seconds = seconds
        .or(Some(status.details.retry_after_seconds))
        .filter(|s| *s > 0);
    seconds.map(Duration::from_secs)
}

/// Whether the connection was never made, so that nothing was sent.
fn is_connect_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let by_hyper = error
        .downcast_ref::<hyper_util::client::legacy::Error>()
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    let by_kind = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    by_hyper || by_kind
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: u16, body: &str) -> FailureKind {
        let code = StatusCode::from_u16(code).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        Failure::of_status("a test", code, &HeaderMap::new(), &body).kind
    }

    #[test]
    fn answers_that_leave_the_outcome_open_are_told_from_those_that_do_not() {
        let shutdown = r#"{"reason":"ServiceUnavailable","message":"apiserver is shutting down"}"#;
        let full = r#"{"message":"etcdserver: mvcc: database space exceeded"}"#;
        for (code, body, expected) in [
            (400, "", FailureKind::Refused),
            (401, "", FailureKind::Refused),
            (403, "", FailureKind::Refused),
            (404, r#"{"reason":"NotFound"}"#, FailureKind::Missing),
            (404, "404 page not found", FailureKind::Unknown),
            (408, "stream idle timeout", FailureKind::Unknown),
            (409, "", FailureKind::Unknown),
            (409, r#"{"reason":"Conflict"}"#, FailureKind::Conflict),
            (
                409,
                r#"{"reason":"AlreadyExists"}"#,
                FailureKind::AlreadyExists,
            ),
            (413, "", FailureKind::Refused),
            (422, "", FailureKind::Refused),
            (429, "too many requests", FailureKind::Later(None)),
            (
                500,
                r#"{"message":"etcdserver: request timed out"}"#,
                FailureKind::Unknown,
            ),
            (500, full, FailureKind::Refused),
            (502, "<html>", FailureKind::Unknown),
            (503, shutdown, FailureKind::Later(None)),
            (503, "upstream", FailureKind::Unknown),
            (504, "", FailureKind::Unknown),
        ] {
            assert_eq!(kind(code, body), expected, "{code} {body}");
        }
    }

    #[test]
    fn a_plain_text_429_keeps_its_retry_after() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "3".parse().unwrap());
        let code = StatusCode::TOO_MANY_REQUESTS;
        let body = Bytes::from_static(b"too many requests");
        let failure = Failure::of_status("a test", code, &headers, &body);
        assert_eq!(
            failure.kind,
            FailureKind::Later(Some(Duration::from_secs(3)))
        );
        assert_eq!(
            failure.error.to_string(),
            "a test asks to slow down; try again in 3s"
        );
    }
}
