//! A bucket that is torn down and made anew all the time.

use std::sync::Mutex;

use kv_configmap::Buckets;
use kv_conformance::Violation;
use kv_conformance::workload::Step;
use kv_core::{Error, KvStore, KvStoreExt, OpenMode, Outcome, Revision};
use kv_fake_apiserver::FakeApiServer;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::client::NAMESPACE;

const NAME: &str = "passing";

/// What all clients know of it.
#[derive(Default)]
pub(crate) struct Passing {
    /// The highest revision that was acknowledged.
    newest: Mutex<Revision>,
}

impl Passing {
    pub(crate) async fn step(
        &self,
        buckets: &Buckets,
        random: &mut StdRng,
    ) -> Result<Step, Violation> {
        match self.act(buckets, random).await {
            Ok(None) => Ok(Step::Done),
            Ok(Some((newest, revision))) => {
                Violation::unless(revision > newest, || {
                    format!("revision {revision} comes after {newest}, in a bucket made anew")
                })?;
                let mut known = self.newest.lock().expect("no panic");
                *known = revision.max(*known);
                Ok(Step::Done)
            }
            Err(error) if error.outcome() == Outcome::Unknown => Ok(Step::Unknown(error)),
            Err(error) => Ok(Step::Failed(error)),
        }
    }

    /// Returns the revision of a put, with the highest one before it.
    async fn act(
        &self,
        buckets: &Buckets,
        random: &mut StdRng,
    ) -> Result<Option<(Revision, Revision)>, Error> {
        let store = buckets.open(NAME, OpenMode::OpenOrCreate).await?;
        if random.random_bool(0.4) {
            store.teardown().await?;
            return Ok(None);
        }
        let mut value = vec![0; [30, 3_000][random.random_range(0..2)]];
        random.fill_bytes(&mut value);
        let newest = *self.newest.lock().expect("no panic");
        Ok(Some((newest, store.put("key", value).await?)))
    }

    /// After the last teardown nothing is left, at the latest when the cluster has collected what
    /// belongs to heads that are gone.
    pub(crate) async fn check(
        &self,
        buckets: &Buckets,
        server: &FakeApiServer,
    ) -> Result<(), String> {
        let torn_down = buckets.teardown(NAME).await;
        torn_down.map_err(|error| error.to_string())?;
        server.collect_garbage();
        let objects = server.objects(NAMESPACE);
        let names = objects
            .iter()
            .filter_map(|object| object["metadata"]["name"].as_str());
        let left: Vec<_> = names.filter(|name| name.starts_with(NAME)).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(format!("a teardown left {left:?}"))
    }
}
