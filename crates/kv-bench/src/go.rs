//! The sides that are written in Go: a process for each turn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use tokio::process::Command;

use crate::drive::Samples;
use crate::environment::Places;

#[derive(Clone, Debug)]
pub(crate) struct GoSides {
    program: PathBuf,
    kubeconfig: PathBuf,
    etcd: String,
    namespace: String,
}

/// What a turn of k8s-kv took.
#[derive(Deserialize)]
pub(crate) struct Turn {
    #[serde(flatten)]
    pub(crate) samples: Samples,
    /// All of them, also those of the warm-up.
    pub(crate) calls: u64,
    pub(crate) requests: u64,
    pub(crate) conflicts: u64,
    /// Of the client.
    pub(crate) cpu_seconds: f64,
}

/// When a put is tried again that has met a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    AtOnce,
    /// As client-go recommends where several clients change one object: about 10 ms later.
    ///
    /// <https://pkg.go.dev/k8s.io/client-go/util/retry#pkg-variables>
    AfterWait,
}

#[derive(Deserialize)]
struct Stored {
    stored: u64,
}

impl GoSides {
    pub(crate) fn new(places: &Places, namespace: &str) -> Self {
        Self {
            program: places.go_sides.clone(),
            kubeconfig: places.kubeconfig.clone(),
            etcd: places.etcd.clone(),
            namespace: namespace.to_owned(),
        }
    }

    /// Puts straight into etcd.
    pub(crate) async fn etcd(&self, tasks: usize, turn: Duration) -> anyhow::Result<Samples> {
        let mut command = self.command("etcd", tasks, turn);
        command.args(["--etcd", &self.etcd]);
        read(command).await
    }

    /// Puts as k8s-kv does, under any of the first entries, with tasks that share a handle.
    pub(crate) async fn k8s_kv(
        &self,
        bucket: &str,
        entries: u64,
        tasks: usize,
        turn: Duration,
    ) -> anyhow::Result<Turn> {
        let mut command = self.k8s_kv_command(bucket, tasks, turn);
        command.arg(format!("--overwritten={entries}"));
        read(command).await
    }

    /// The same in one of several processes, each with keys of its own, which try again after a conflict.
    pub(crate) async fn k8s_kv_process(
        &self,
        bucket: &str,
        number: usize,
        tasks: usize,
        turn: Duration,
        retry: Retry,
    ) -> anyhow::Result<Turn> {
        let mut command = self.k8s_kv_command(bucket, tasks, turn);
        let prefix = format!("process-{number}-");
        command.args(["--retries", "--keys=1", "--prefix", &prefix]);
        command.args((retry == Retry::AfterWait).then_some("--waits"));
        read(command).await
    }

    /// Makes a bucket of k8s-kv with these entries; says how much is stored for them.
    pub(crate) async fn fill(
        &self,
        bucket: &str,
        entries: impl Iterator<Item = (String, Bytes)>,
    ) -> anyhow::Result<u64> {
        let encode = |value: Bytes| base64::prelude::BASE64_STANDARD.encode(value);
        let entries: BTreeMap<String, String> =
            entries.map(|(key, value)| (key, encode(value))).collect();
        let file = tempfile::NamedTempFile::new()?;
        serde_json::to_writer(&file, &entries)?;
        let mut command = self.command("k8s-kv-fill", 1, Duration::ZERO);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.args(["--bucket", bucket]);
        command.arg("--entries").arg(file.path());
        let stored: Stored = read(command).await?;
        Ok(stored.stored)
    }

    fn k8s_kv_command(&self, bucket: &str, tasks: usize, turn: Duration) -> Command {
        let mut command = self.command("k8s-kv", tasks, turn);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.args(["--bucket", bucket]);
        command
    }

    fn command(&self, side: &str, tasks: usize, turn: Duration) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([side, "--namespace", &self.namespace])
            .args(["--tasks", &tasks.to_string()])
            .args(["--seconds", &turn.as_secs_f64().to_string()])
            .stderr(Stdio::inherit());
        command
    }
}

async fn read<T: for<'a> Deserialize<'a>>(mut command: Command) -> anyhow::Result<T> {
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .context("the Go program")?;
    ensure!(output.status.success(), "the Go program failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}
