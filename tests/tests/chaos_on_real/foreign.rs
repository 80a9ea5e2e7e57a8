//! Others in the same namespace: a controller that labels and annotates everything, a person who
//! edits by hand, and objects that look like ours and are not.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;

/// An API server that is paused or gone does not stop them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everybody else.
pub(crate) struct Others {
    api: Api<ConfigMap>,
    bucket: String,
    /// What nobody touches, as it was made.
    neighbours: Vec<ConfigMap>,
    pub(crate) edits: u64,
}

impl Others {
    /// Makes objects whose names are those that segments could have.
    pub(crate) async fn settle(client: Client, namespace: &str, bucket: &str) -> Self {
        let api: Api<ConfigMap> = Api::namespaced(client, namespace);
        let mut neighbours = Vec::new();
        for name in ["0123456789abcdef", "notes", "0"] {
            let object = object(&format!("{bucket}.{name}"), "a neighbour");
            let made = api.create(&PostParams::default(), &object).await;
            neighbours.push(made.expect("a neighbour"));
        }
        Self {
            api,
            bucket: bucket.to_owned(),
            neighbours,
            edits: 0,
        }
    }

    /// Does one thing. What becomes of it does not matter.
    pub(crate) async fn act(&mut self, random: &mut StdRng) {
        let number = random.random_range(0..1_000);
        let act = async {
            match random.random_range(0..4) {
                0 => self.label(number).await,
                1 => self.edit(number).await,
                2 => self.write_notes(number).await,
                _ => self.remove_notes().await,
            }
        };
        let done = tokio::time::timeout(PATIENCE, act).await;
        self.edits += u64::from(matches!(done, Ok(Ok(()))));
    }

    /// As a controller does, on whatever version of our head is there.
    async fn label(&self, number: u32) -> kube::Result<()> {
        let text = number.to_string();
        let patch = json!({ "metadata": {
            "labels": { "team": text }, "annotations": { "seen-by": text },
        }});
        let patch = Patch::Merge(patch);
        let parameters = PatchParams::default();
        let patched = self.api.patch(&self.bucket, &parameters, &patch).await;
        patched.map(drop)
    }

    /// As `kubectl edit` does: the whole head, under the condition that it has not changed.
    async fn edit(&self, number: u32) -> kube::Result<()> {
        let mut head = self.api.get(&self.bucket).await?;
        let annotations = head.metadata.annotations.get_or_insert_default();
        annotations.insert("edited".to_owned(), number.to_string());
        let parameters = PostParams::default();
        let replaced = self.api.replace(&self.bucket, &parameters, &head).await;
        replaced.map(drop)
    }

    async fn write_notes(&self, number: u32) -> kube::Result<()> {
        let (name, parameters) = (self.notes(), PostParams::default());
        let notes = object(&name, &number.to_string());
        let mut done = self.api.create(&parameters, &notes).await;
        if done.is_err() {
            done = self.api.replace(&name, &parameters, &notes).await;
        }
        done.map(drop)
    }

    async fn remove_notes(&self) -> kube::Result<()> {
        let (name, parameters) = (self.notes(), DeleteParams::default());
        self.api.delete(&name, &parameters).await.map(drop)
    }

    fn notes(&self) -> String {
        format!("{}-notes", self.bucket)
    }

    /// Nobody has changed or removed what is not ours.
    pub(crate) async fn check(&self) -> Result<(), String> {
        for neighbour in &self.neighbours {
            let name = neighbour.metadata.name.as_deref().unwrap_or_default();
            let found = self.api.get_opt(name).await;
            let found = found.map_err(|error| error.to_string())?;
            if found.as_ref() != Some(neighbour) {
                return Err(format!("{name} is not ours, and is now {found:?}"));
            }
        }
        Ok(())
    }
}

fn object(name: &str, text: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("text".to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    }
}
