//! A kind of objects whose history begins after version 1.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::api::{Api, PATIENCE};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Nothing but a new kind has surely no history from version 1 on: a real server that has just
/// started still has all that of ConfigMaps.
pub(super) struct LateKind<'a> {
    api: &'a Api,
    definition: Value,
}

impl<'a> LateKind<'a> {
    pub(super) fn new(api: &'a Api) -> Self {
        let group = format!("{}.kv.example", api.namespace);
        let schema = json!({ "openAPIV3Schema": { "type": "object" } });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("latecomers.{group}") },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": { "plural": "latecomers", "kind": "Latecomer" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
            },
        });
        Self { api, definition }
    }

    /// The events of a watch of the kind, which is gone afterwards.
    pub(super) async fn watch(&self, query: &str) -> Vec<Value> {
        let made = self.api.call_absolute("POST", DEFINITIONS);
        match made.json(&self.definition).code().await {
            201 => {}
            // The fake has no custom kinds; its first version is above a thousand.
            404 => return self.watch_of("api/v1", "configmaps", query).await,
            code => panic!("a definition can be made, got {code}"),
        }
        let group = format!("apis/{}/v1", self.text("/spec/group"));
        let events = self.watch_of(&group, "latecomers", query).await;
        let path = format!("{DEFINITIONS}/{}", self.text("/metadata/name"));
        self.api
            .call_absolute("DELETE", &path)
            .send()
            .await
            .expect(200);
        events
    }

    async fn watch_of(&self, group: &str, plural: &str, query: &str) -> Vec<Value> {
        let namespace = &self.api.namespace;
        let path = format!("/{group}/namespaces/{namespace}/{plural}?watch=true&{query}");
        let watch = || self.api.call_absolute("GET", &path);
        // A new kind is not there for a moment, then it is getting ready.
        let served = async {
            while watch().code().await != 200 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, served)
            .await
            .expect("the kind is served in time");
        watch().watch(usize::MAX).await
    }

    fn text(&self, pointer: &str) -> &str {
        let value = self.definition.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or_default()
    }
}
