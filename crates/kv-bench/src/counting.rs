//! A client that counts what it sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

/// How many requests were sent, and how many bytes of bodies with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    body_bytes: AtomicU64,
}

impl Counter {
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.0.body_bytes.load(Ordering::Relaxed)
    }

    fn count<B: http_body::Body>(&self, request: &http::Request<B>) {
        let bytes = request.body().size_hint().lower();
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.body_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

pub(crate) fn counted_client(config: Config) -> anyhow::Result<(Client, Counter)> {
    let counter = Counter::default();
    let builder = ClientBuilder::try_from(config)?.with_layer(&CountLayer(counter.clone()));
    Ok((builder.build(), counter))
}

#[derive(Clone)]
struct CountLayer(Counter);

impl<S> Layer<S> for CountLayer {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting {
            inner,
            counter: self.0.clone(),
        }
    }
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    counter: Counter,
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Counting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        self.counter.count(&request);
        self.inner.call(request)
    }
}
