//! A client that counts what it sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use kube::{Client, Config};
use tower::Service;

use crate::client;

/// What was sent, and how much of it met a conflict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    by_verb: BTreeMap<&'static str, u64>,
    pub(crate) body_bytes: u64,
    pub(crate) conflicts: u64,
}

impl Counts {
    pub(crate) fn requests(&self) -> u64 {
        self.by_verb.values().sum()
    }

    /// The requests for each of so many calls, by verb.
    pub(crate) fn by_verb(&self, calls: u64) -> String {
        let each = |(verb, count): (&&str, &u64)| {
            let each = *count as f64 / calls as f64;
            format!("{verb} {each:.3}")
        };
        self.by_verb.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

/// Counts what its client sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Counts>>);

impl Counter {
    /// The counts since they were taken last.
    pub(crate) fn take(&self) -> Counts {
        self.with(std::mem::take)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn verb<B>(request: &Request<B>) -> &'static str {
    let uri = request.uri();
    let is_of_one = !uri.path().ends_with("/configmaps") && !uri.path().ends_with("/secrets");
    match *request.method() {
        Method::GET if uri.query().is_some_and(|query| query.contains("watch=")) => "watch",
        Method::GET if is_of_one => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

pub(crate) fn counted_client(config: Config) -> anyhow::Result<(Client, Counter)> {
    let counter = Counter::default();
    let counting = Counting {
        inner: client::service(&config)?,
        counter: counter.clone(),
    };
    Ok((Client::new(counting, config.default_namespace), counter))
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    counter: Counter,
}

impl<S, B> Service<Request<Body>> for Counting<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let bytes = http_body::Body::size_hint(request.body()).lower();
        self.counter.with(|counts| {
            *counts.by_verb.entry(verb(&request)).or_default() += 1;
            counts.body_bytes += bytes;
        });
        let counter = self.counter.clone();
        let note = move |response: &Response<B>| {
            if response.status() == StatusCode::CONFLICT {
                counter.with(|counts| counts.conflicts += 1);
            }
        };
        self.inner.call(request).inspect_ok(note).boxed()
    }
}
