//! ConfigMap buckets on the fake API server: what is asked of the server, what happens when it
//! fails, and what is done about objects that are not as they should be.

mod bounds;
mod check;
mod corners;
mod damage;
mod forwarding;
mod groups;
mod objects;
mod outage;
mod outcomes;
mod races;
mod refusals;
mod requests;
mod segments;
mod verdicts;

use std::time::Duration;

use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::prelude::*;
use kv_core::{Entry, OpenMode};
use kv_fake_apiserver::{FakeApiServer, Fault, Kind, Verb};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const NAMESPACE: &str = "default";
const BUCKET: &str = "approvals";
/// After this time a late answer comes: before the client takes the request for lost.
const LATE: Duration = Duration::from_secs(5);

/// Without a budget, since not every test has a paused clock.
fn buckets(server: &FakeApiServer) -> Buckets {
    Buckets::config_maps(server.client(), NAMESPACE).without_write_budget()
}

async fn open_in(buckets: &Buckets) -> ConfigMapStore {
    let opened = buckets.open(BUCKET, OpenMode::OpenOrCreate).await;
    opened.expect("the bucket opens")
}

/// A handle of its own on the bucket, as another process would have it.
async fn open(server: &FakeApiServer) -> ConfigMapStore {
    let store = open_in(&buckets(server)).await;
    server.reset_requests();
    store
}

/// A handle on the bucket in one object.
async fn open_single(server: &FakeApiServer) -> ConfigMapStore {
    let store = open_in(&buckets(server).in_single_objects()).await;
    server.reset_requests();
    store
}

/// A handle on a bucket whose parts are so small that a few commits flush and merge.
async fn open_tiny(server: &FakeApiServer) -> ConfigMapStore {
    open_in(&buckets(server).with_tiny_parts()).await
}

fn segments(server: &FakeApiServer) -> Vec<Value> {
    let mut objects = server.objects(NAMESPACE);
    objects.retain(|object| object["metadata"]["labels"]["kv-configmap/part"] == "segment");
    objects
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

fn object(server: &FakeApiServer) -> Value {
    server
        .get(Kind::ConfigMap, NAMESPACE, BUCKET)
        .expect("the bucket is there")
}

/// The size of the head, as base64.
fn head_bytes(server: &FakeApiServer) -> usize {
    let head = &object(server)["binaryData"]["head"];
    head.as_str().expect("a head").len()
}

fn version(server: &FakeApiServer) -> String {
    object(server)["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned()
}

/// The verbs of the requests since the last reset, but for those that begin to follow the bucket.
fn verbs(server: &FakeApiServer) -> Vec<Verb> {
    let follows = |query: &str| query.contains("fieldSelector");
    let requests = server.requests();
    let others = requests.iter().filter(|request| !follows(&request.query));
    others.map(|request| request.verb).collect()
}

/// Begins a call, and goes on as soon as a request of it with that verb has met the fault.
async fn under_way<T, F>(
    server: &FakeApiServer,
    store: &ConfigMapStore,
    verb: Verb,
    fault: Fault,
    call: impl FnOnce(ConfigMapStore) -> F,
) -> JoinHandle<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    server.inject(fault.on(verb));
    server.reset_requests();
    let call = tokio::spawn(call(store.clone()));
    while !verbs(server).contains(&verb) {
        sleep(Duration::from_millis(1)).await;
    }
    call
}

/// A read of `k` that sees what is there now, and is answered [`LATE`].
async fn late_read(
    server: &FakeApiServer,
    store: &ConfigMapStore,
) -> JoinHandle<Result<Option<Entry>, Error>> {
    let fault = Fault::late_answer(LATE);
    let read = |store: ConfigMapStore| async move { store.get("k").await };
    under_way(server, store, Verb::Get, fault, read).await
}

/// A put whose request has met the fault.
async fn put_meeting(
    server: &FakeApiServer,
    store: &ConfigMapStore,
    fault: Fault,
    key: &'static str,
    value: &'static str,
) -> JoinHandle<Result<Revision, Error>> {
    let put = move |store: ConfigMapStore| async move { store.put(key, value).await };
    under_way(server, store, Verb::Update, fault, put).await
}

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    use rand::{Rng, SeedableRng};
    let mut noise = vec![0; bytes];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise
}
