use std::collections::BTreeSet;
use std::env;
use std::path::Path;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ObjectMeta;
use kube::{Api, Client, Config};
use kv_fake_apiserver::FakeApiServer;

/// A namespace of one's own in an API server.
#[async_trait]
pub trait Place: Send + Sync + 'static {
    /// Makes the namespace.
    async fn new() -> Self;

    /// A client that may do everything, and does not repeat requests by itself.
    fn client(&self) -> Client;

    /// The name of the namespace.
    fn namespace(&self) -> &str;

    /// Removes the namespace.
    async fn finish(self);

    /// The ConfigMaps and Secrets in the namespace, asked of the server.
    async fn objects(&self) -> Vec<String> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client(), self.namespace());
        let secrets: Api<Secret> = Api::namespaced(self.client(), self.namespace());
        let config_maps = config_maps.list(&ListParams::default()).await;
        let secrets = secrets.list(&ListParams::default()).await;
        let config_maps = config_maps.expect("a list of ConfigMaps");
        let secrets = secrets.expect("a list of Secrets");
        let metadata = config_maps.iter().map(|object| &object.metadata);
        let metadata = metadata.chain(secrets.iter().map(|object| &object.metadata));
        let mut names = without_orphans(&metadata.collect::<Vec<_>>());
        // The cluster's controllers put this one into every namespace.
        names.retain(|name| name != "kube-root-ca.crt");
        names
    }
}

/// The names of these objects, but for those whose owner is gone: a cluster collects them, but there
/// is no controller here that does.
fn without_orphans(objects: &[&ObjectMeta]) -> Vec<String> {
    let uids: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object.uid.as_deref())
        .collect();
    let is_owned = |object: &&&ObjectMeta| {
        let owners = object.owner_references.as_deref().unwrap_or_default();
        owners.is_empty() || owners.iter().any(|owner| uids.contains(owner.uid.as_str()))
    };
    let kept = objects.iter().filter(is_owned);
    kept.filter_map(|object| object.name.clone()).collect()
}

/// A fake API server in the process.
#[derive(Debug)]
pub struct Fake {
    /// The server, to look behind the scenes.
    pub server: FakeApiServer,
}

#[async_trait]
impl Place for Fake {
    async fn new() -> Self {
        Self {
            server: FakeApiServer::new(),
        }
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    fn namespace(&self) -> &str {
        "default"
    }

    async fn finish(self) {}
}

/// The API server that `cargo xtask test` has started.
#[derive(Debug)]
pub struct Real {
    namespace: String,
    config: Config,
}

impl Real {
    /// The environment variable with the path of the kubeconfig: one of our own, so that nobody's
    /// production cluster is used by accident.
    pub const KUBECONFIG: &str = "KV_TEST_KUBECONFIG";
}

#[async_trait]
impl Place for Real {
    async fn new() -> Self {
        let config = config_as(None).await;
        let client = Client::try_from(config.clone()).expect("a client");
        let namespaces: Api<Namespace> = Api::all(client);
        let namespace = format!("kv-test-{:016x}", rand::random::<u64>());
        let metadata = ObjectMeta {
            name: Some(namespace.clone()),
            ..ObjectMeta::default()
        };
        let object = Namespace {
            metadata,
            ..Namespace::default()
        };
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .expect("a namespace");
        Self { namespace, config }
    }

    fn client(&self) -> Client {
        Client::try_from(self.config.clone()).expect("a client")
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    async fn finish(self) {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let deleted = namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await;
        deleted.expect("the namespace is deleted");
    }
}

/// A client of the real server that may do everything.
///
/// # Panics
///
/// Where there is no server.
pub async fn client() -> Client {
    Client::try_from(config_as(None).await).expect("a client")
}

/// A client of the real server in a context of its kubeconfig, for tests of permissions.
///
/// # Panics
///
/// Where there is no such context, or no server.
pub async fn client_as(context: &str) -> Client {
    Client::try_from(config_as(Some(context)).await).expect("a client")
}

async fn config_as(context: Option<&str>) -> Config {
    let path = env::var(Real::KUBECONFIG).expect("`cargo xtask test` sets KV_TEST_KUBECONFIG");
    config_of(Path::new(&path), context).await
}

/// What a kubeconfig says of a context, or of the one that it begins with.
pub(crate) async fn config_of(path: &Path, context: Option<&str>) -> Config {
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let context = context.map(str::to_owned);
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.expect("a usable kubeconfig");
    config.default_retry = false;
    config
}
