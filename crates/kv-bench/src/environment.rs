//! Where the sides meet: the API server, its etcd, and a namespace of this run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use http::Request;
use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use kv_configmap::Buckets;

use crate::client::client;
use crate::counting::{Counter, counted_client};
use crate::go::GoSides;
use crate::rounds::Effort;
use crate::server::Servers;

/// What the command line tells of the servers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Places {
    /// The API server
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: PathBuf,
    /// The URL of its etcd
    #[arg(long)]
    pub(crate) etcd: String,
    /// The process of the API server
    #[arg(long)]
    pub(crate) apiserver_pid: u32,
    /// The process of etcd
    #[arg(long)]
    pub(crate) etcd_pid: u32,
    /// The program with the sides that are written in Go
    #[arg(long)]
    pub(crate) go_sides: PathBuf,
    /// The command that starts a controller manager, which comes last
    #[arg(last = true)]
    pub(crate) start_manager: Vec<String>,
}

pub(crate) struct Environment {
    pub(crate) places: Places,
    pub(crate) effort: Effort,
    pub(crate) namespace: String,
    pub(crate) servers: Servers,
    pub(crate) go: GoSides,
    config: Config,
    progress: ProgressBar,
}

impl Environment {
    pub(crate) async fn new(places: Places, effort: Effort) -> anyhow::Result<Self> {
        let config = config(&places.kubeconfig).await?;
        let namespace = format!("kv-bench-{}", std::process::id());
        let client = client(config.clone())?;
        let wanted = Namespace {
            metadata: ObjectMeta {
                name: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(client);
        let created = namespaces.create(&PostParams::default(), &wanted).await;
        created.context("the namespace could not be made")?;
        let progress = ProgressBar::new(0);
        progress.enable_steady_tick(Duration::from_secs(1));
        progress.set_style(ProgressStyle::with_template(
            "{elapsed_precise} {bar:30} {pos}/{len} {msg}",
        )?);
        Ok(Self {
            servers: Servers::new(&places),
            go: GoSides::new(&places, &namespace),
            namespace,
            places,
            effort,
            config,
            progress,
        })
    }

    /// Shows what is being measured.
    pub(crate) fn begin(&self, index: usize, count: usize, what: &str) {
        self.progress.set_length(count as u64);
        self.progress.set_position(index as u64);
        self.progress.set_message(what.to_owned());
        self.progress.tick();
        if self.progress.is_hidden() {
            eprintln!("{index}/{count} {what}");
        }
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        client(self.config.clone())
    }

    /// What the API server tells of itself.
    pub(crate) async fn apiserver_metrics(&self) -> anyhow::Result<String> {
        let request = Request::get("/metrics").body(Vec::new())?;
        let metrics = self.client()?.request_text(request).await;
        metrics.context("the API server did not tell its metrics")
    }

    /// Buckets without a write budget, on connections of their own.
    pub(crate) fn buckets(&self) -> anyhow::Result<Buckets> {
        Ok(Buckets::config_maps(self.client()?, &self.namespace).without_write_budget())
    }

    /// Buckets whose default write budget is used up from the first byte: they write as fast as it allows in
    /// the long run. A turn of the default one is part burst, more of it the shorter it is.
    pub(crate) fn buckets_used_up(&self) -> anyhow::Result<Buckets> {
        Ok(used_up(self.buckets()?))
    }

    /// Buckets without a write budget, with a count of what is sent.
    pub(crate) fn counted_buckets(&self) -> anyhow::Result<(Buckets, Counter)> {
        let (client, counter) = counted_client(self.config.clone())?;
        let buckets = Buckets::config_maps(client, &self.namespace).without_write_budget();
        Ok((buckets, counter))
    }

    pub(crate) async fn clean_up(&self) {
        self.progress.finish_and_clear();
        let Ok(client) = self.client() else { return };
        let namespaces: Api<Namespace> = Api::all(client);
        // The server of this run may be gone already.
        let _ = namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await;
    }
}

/// With the default budget's rate, and nothing at once.
pub(crate) fn used_up(buckets: Buckets) -> Buckets {
    const BYTES_PER_SECOND: u64 = 256 * 1024;
    buckets.with_write_budget(BYTES_PER_SECOND, 0)
}

pub(crate) async fn config(kubeconfig: &std::path::Path) -> anyhow::Result<Config> {
    let read = kube::config::Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
}
