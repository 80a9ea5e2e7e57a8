//! The contract of the fake API server, on a real one: so that the fake can't lie.
//!
//! Each case gets a namespace of its own on the server of `KV_TEST_KUBECONFIG`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kv_fake_apiserver::contract;

/// Without the client's own retries, which would hide an answer.
async fn client() -> Client {
    let path = std::env::var_os("KV_TEST_KUBECONFIG").expect("KV_TEST_KUBECONFIG is set");
    let kubeconfig = Kubeconfig::read_from(PathBuf::from(path)).expect("a readable kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a config");
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// A name that no other test of this run has.
fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("kv-contract-{}-{number}", std::process::id())
}

async fn in_a_namespace_of_its_own<F: Future<Output = ()> + Send + 'static>(
    case: impl FnOnce(Client, String) -> F,
) {
    let client = client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let name = fresh_name();
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.clone());
    namespaces.create(&PostParams::default(), &namespace).await.expect("a new namespace");
    // In a task, so that the namespace goes also when the case fails.
    let outcome = tokio::spawn(case(client, name.clone())).await;
    namespaces.delete(&name, &DeleteParams::default()).await.expect("the namespace goes");
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

macro_rules! on_the_real_server {
    ($($module:ident::$case:ident,)*) => {$(
        #[tokio::test]
        #[ignore = "needs a real API server"]
        async fn $case() {
            in_a_namespace_of_its_own(|client, namespace| async move {
                contract::cases::$case(client, &namespace).await;
            })
            .await;
        }
    )*};
}

kv_fake_apiserver::contract_cases!(on_the_real_server);
