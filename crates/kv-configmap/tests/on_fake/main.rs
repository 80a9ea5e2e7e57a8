//! ConfigMap buckets on the fake API server: what is asked of the server, what happens when it
//! fails, and what is done about objects that are not as they should be.

mod check;
mod corners;
mod objects;
mod outcomes;
mod races;
mod requests;
mod segments;
mod verdicts;

use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;
use kv_fake_apiserver::{FakeApiServer, Kind, Verb};
use serde_json::Value;

const NAMESPACE: &str = "default";
const BUCKET: &str = "approvals";

/// Without a budget, since not every test has a paused clock.
fn buckets(server: &FakeApiServer) -> Buckets {
    Buckets::config_maps(server.client(), NAMESPACE).without_write_budget()
}

/// A handle of its own on the bucket, as another process would have it.
async fn open(server: &FakeApiServer) -> ConfigMapStore {
    let opened = buckets(server).open(BUCKET, OpenMode::OpenOrCreate).await;
    let store = opened.expect("the bucket opens");
    server.reset_requests();
    store
}

/// A handle on the bucket in one object.
async fn open_single(server: &FakeApiServer) -> ConfigMapStore {
    let buckets = buckets(server).in_single_objects();
    let opened = buckets.open(BUCKET, OpenMode::OpenOrCreate).await;
    let store = opened.expect("the bucket opens");
    server.reset_requests();
    store
}

fn object(server: &FakeApiServer) -> Value {
    server
        .get(Kind::ConfigMap, NAMESPACE, BUCKET)
        .expect("the bucket is there")
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

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    use rand::{Rng, SeedableRng};
    let mut noise = vec![0; bytes];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise
}
