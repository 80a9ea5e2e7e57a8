//! Processes that have one of them write for all, by hand, as JSON and with no more than that takes: about
//! what they could have at most who put one at a time into one object.
//!
//! Each replaces an object of its own, the *lane*, where its put stands, and is told by a watch of the head
//! that it is in. The first one is told of the lanes by a watch, and replaces the head for all that have
//! come meanwhile. Nothing is checked, kept or tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::data::{VALUE_BYTES, noise};
use crate::drive::{Samples, drive};

/// What names the head and the lanes of a bucket, as a label of the lanes.
const LABEL: &str = "kv-bench-lane-of";
const PUT: &str = "put";

/// How long a put may take; by then nobody writes any more.
const LONGEST: Duration = Duration::from_secs(10);

/// One process among them.
#[derive(Clone)]
pub(crate) struct Combined {
    maps: Api<ConfigMap>,
    bucket: String,
    number: usize,
}

/// What each lane has put last, by its name.
type Puts = BTreeMap<String, ByteString>;

impl Combined {
    /// Makes the lane, and the head where it is the first process.
    pub(crate) async fn create(
        maps: Api<ConfigMap>,
        bucket: String,
        number: usize,
    ) -> anyhow::Result<Self> {
        let process = Self {
            maps,
            bucket,
            number,
        };
        let parameters = PostParams::default();
        process.maps.create(&parameters, &process.lane(0)).await?;
        if process.is_first() {
            let head = process.head(Puts::new());
            process.maps.create(&parameters, &head).await?;
        }
        Ok(process)
    }

    /// Puts for `turn`, one after the other.
    pub(crate) async fn put(self, turn: Duration) -> anyhow::Result<Samples> {
        let head = WatchParams::default().fields(&format!("metadata.name={}", self.head_name()));
        let committed = self.follow(head).await?;
        if self.is_first() {
            let lanes = WatchParams::default().labels(&format!("{LABEL}={}", self.bucket));
            tokio::spawn(self.clone().write_for_all(self.follow(lanes).await?));
        }
        let is_first = self.is_first();
        let samples = drive(1, turn, move |_, number| {
            let (process, mut committed) = (self.clone(), committed.clone());
            async move {
                let lane = process.lane(number + 1);
                let put = lane.binary_data.clone().unwrap_or_default().remove(PUT);
                let (name, parameters) = (process.lane_name(), PostParams::default());
                process.maps.replace(&name, &parameters, &lane).await?;
                let is_in = |puts: &Puts| puts.get(&name) == put.as_ref();
                timeout(LONGEST, committed.wait_for(is_in)).await??;
                Ok(())
            }
        })
        .await;
        if is_first {
            // The last puts of the others wait for it.
            sleep(Duration::from_secs(1)).await;
        }
        samples
    }

    /// Takes over what the objects hold that a watch tells of.
    async fn follow(&self, what: WatchParams) -> anyhow::Result<watch::Receiver<Puts>> {
        let mut events = self.maps.watch(&what, "0").await?.boxed();
        let (sender, receiver) = watch::channel(Puts::new());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let object = match event? {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => object,
                    _ => continue,
                };
                let name = object.metadata.name.context("an object without a name")?;
                let mut data = object.binary_data.unwrap_or_default();
                sender.send_modify(|puts| match data.remove(PUT) {
                    Some(put) => drop(puts.insert(name, put)),
                    None => *puts = data,
                });
            }
            anyhow::Ok(())
        });
        Ok(receiver)
    }

    async fn write_for_all(self, mut lanes: watch::Receiver<Puts>) -> anyhow::Result<()> {
        loop {
            lanes.changed().await?;
            let head = self.head(lanes.borrow_and_update().clone());
            let (name, parameters) = (self.head_name(), PostParams::default());
            self.maps.replace(&name, &parameters, &head).await?;
        }
    }

    fn is_first(&self) -> bool {
        self.number == 0
    }

    fn head_name(&self) -> String {
        format!("{}-combined", self.bucket)
    }

    fn lane_name(&self) -> String {
        format!("{}-lane-{}", self.bucket, self.number)
    }

    fn head(&self, puts: Puts) -> ConfigMap {
        object(self.head_name(), BTreeMap::new(), puts)
    }

    fn lane(&self, number: u64) -> ConfigMap {
        let value = noise((self.number as u64) << 32 | number, VALUE_BYTES);
        let labels = [(LABEL.to_owned(), self.bucket.clone())];
        let put = [(PUT.to_owned(), ByteString(value.to_vec()))];
        object(self.lane_name(), labels.into(), put.into())
    }
}

fn object(name: String, labels: BTreeMap<String, String>, data: Puts) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        binary_data: Some(data),
        ..ConfigMap::default()
    }
}
