//! One ConfigMap, as a good engineer would use it by hand.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

/// An object of about 1 KiB, with ten keys.
#[derive(Clone)]
pub(crate) struct RawMap {
    maps: Api<ConfigMap>,
    name: String,
}

impl RawMap {
    pub(crate) async fn create(
        client: Client,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Self> {
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        let value = |number: u64| ByteString(crate::data::noise(number, 75).to_vec());
        let entries = (0..10).map(|number| (format!("key-{number}"), value(number)));
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            binary_data: Some(entries.collect::<BTreeMap<_, _>>()),
            ..ConfigMap::default()
        };
        maps.create(&PostParams::default(), &object).await?;
        Ok(Self {
            maps,
            name: name.to_owned(),
        })
    }

    /// One key, in one request.
    pub(crate) async fn patch(&self, key: u64, value: Vec<u8>) -> anyhow::Result<()> {
        let key = format!("key-{}", key % 10);
        let patch = Patch::Strategic(json!({ "binaryData": { key: ByteString(value) } }));
        let parameters = PatchParams::default();
        self.maps.patch(&self.name, &parameters, &patch).await?;
        Ok(())
    }

    /// All of it, whatever it was before, in one request.
    pub(crate) async fn put(&self, value: Vec<u8>) -> anyhow::Result<()> {
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            binary_data: Some([("key".to_owned(), ByteString(value))].into()),
            ..ConfigMap::default()
        };
        let parameters = PostParams::default();
        self.maps.replace(&self.name, &parameters, &object).await?;
        Ok(())
    }

    /// Reads, changes and replaces, again after each conflict.
    pub(crate) async fn read_modify_write(&self, key: u64, value: Vec<u8>) -> anyhow::Result<()> {
        let parameters = PostParams::default();
        loop {
            let mut object = self.maps.get(&self.name).await?;
            let data = object.binary_data.get_or_insert_default();
            data.insert(format!("key-{}", key % 10), ByteString(value.clone()));
            let replaced = self.maps.replace(&self.name, &parameters, &object);
            match replaced.await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                answer => return answer.map(drop).map_err(Into::into),
            }
        }
    }

    pub(crate) async fn get(&self) -> anyhow::Result<()> {
        self.maps.get(&self.name).await?;
        Ok(())
    }
}
