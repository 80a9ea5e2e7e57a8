//! Where rounds take place: servers, the proxy in front of them, and a namespace.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kv_tests::chaos::client_to;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::figures::Figures;
use crate::proxy::Proxy;
use crate::round::Plan;
use crate::servers::Servers;
use crate::trouble::Deck;

/// The place of one round after the other.
pub(crate) struct World {
    pub(crate) servers: Servers,
    pub(crate) proxy: Proxy,
    pub(crate) namespace: String,
    pub(crate) deck: Deck,
    random: StdRng,
}

impl World {
    /// Starts what is needed. What goes wrong in it is decided by the seed.
    pub(crate) async fn start(seed: u64) -> Self {
        let servers = Servers::start().await;
        let mut random = StdRng::seed_from_u64(seed);
        let proxy = Proxy::start(servers.address().await, random.random()).await;
        let namespace = format!("kv-chaos-{:016x}", rand::random::<u64>());
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces = namespaces(&servers).await;
        let made = namespaces.create(&PostParams::default(), &object).await;
        made.expect("a namespace");
        Self {
            deck: Deck::of(&servers),
            servers,
            proxy,
            namespace,
            random,
        }
    }

    /// Removes what is left on a server that is given.
    pub(crate) async fn finish(self) {
        let namespaces = namespaces(&self.servers).await;
        let parameters = DeleteParams::default();
        let deleted = namespaces.delete(&self.namespace, &parameters).await;
        deleted.expect("the namespace is deleted");
    }

    /// Runs a round in a folder of its own, which stays where the round fails.
    pub(crate) async fn run_in_folder(&mut self, plan: &Plan) -> Result<Figures, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let result = self.run(plan, folder.path()).await;
        result.map_err(|found| {
            let kept = folder.keep();
            format!("{found}; the journals are in {}", kept.display())
        })
    }

    /// Randomness of its own for somebody.
    pub(crate) fn fork(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.random.random())
    }
}

async fn namespaces(servers: &Servers) -> Api<Namespace> {
    Api::all(client_to(&servers.kubeconfig()).await)
}
