use std::fmt;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kv_configmap::{Buckets, ConfigMapStore};
use kv_core::OpenMode;

use crate::args::Global;
use crate::exit::Failure;

/// What a bucket in a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        })
    }
}

/// Opens a bucket in the cluster that the caller means.
pub(crate) async fn open(
    kind: Kind,
    namespace: &str,
    bucket: &str,
    global: &Global,
    mode: OpenMode,
) -> Result<ConfigMapStore, Failure> {
    let buckets = buckets(kind, namespace, global).await?;
    Ok(buckets.open(bucket, mode).await?)
}

/// Removes a bucket that is too damaged to be opened.
pub(crate) async fn teardown(
    kind: Kind,
    namespace: &str,
    bucket: &str,
    global: &Global,
) -> Result<(), Failure> {
    let buckets = buckets(kind, namespace, global).await?;
    Ok(buckets.teardown(bucket).await?)
}

/// The buckets of a namespace in the cluster that the caller means.
pub(crate) async fn buckets(
    kind: Kind,
    namespace: &str,
    global: &Global,
) -> Result<Buckets, Failure> {
    let client = client(global).await;
    let client = client.map_err(|source| Failure::Cluster { source })?;
    let buckets = match kind {
        Kind::ConfigMap => Buckets::config_maps(client, namespace),
        Kind::Secret => Buckets::secrets(client, namespace),
    };
    let buckets = buckets.with_deadline(global.timeout);
    Ok(match global.single_object {
        true => buckets.in_single_objects(),
        false => buckets,
    })
}

async fn client(global: &Global) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let options = KubeConfigOptions {
        context: global.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &global.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    // The store itself knows which requests are safe to repeat; a retry below it could apply a
    // change twice.
    config.default_retry = false;
    config.connect_timeout = Some(global.timeout);
    Ok(Client::try_from(config)?)
}
