//! The API server of one test run, gone when the run ends, however it ends.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

use crate::cluster::{Cluster, Status};
use crate::process::{dismiss_guard, spawn_guard};
use crate::workspace::Workspace;

/// A `cargo xtask cluster serve` of ours.
///
/// The servers are its business and not this program's, since a program that is killed can't clean up
/// any more; it notices that our end of its standard input is closed.
#[derive(Debug)]
pub(crate) struct Guard {
    id: u32,
    cluster: Cluster,
}

impl Guard {
    /// Starts the servers and waits until they are ready.
    pub(crate) fn start(workspace: &Workspace) -> anyhow::Result<Self> {
        Self::start_with(workspace, &[])
    }

    /// The same with no more than the API server and its etcd.
    pub(crate) fn start_no_manager(workspace: &Workspace) -> anyhow::Result<Self> {
        Self::start_with(workspace, &["--no-controller-manager"])
    }

    fn start_with(workspace: &Workspace, options: &[&str]) -> anyhow::Result<Self> {
        let folder = workspace
            .target
            .join(format!("test-cluster-{}", std::process::id()));
        let mut command = Command::new(&workspace.exe);
        command
            .args(["cluster", "serve", "--dir"])
            .arg(&folder)
            .args(options);
        let (id, stdout) = spawn_guard(&mut command)?;
        let guard = Self {
            id,
            cluster: Cluster::at(folder),
        };
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        ensure!(
            !ready.is_empty(),
            "the API server did not start; see the message above"
        );
        Ok(guard)
    }

    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        self.cluster.status()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.cluster.folder()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubeconfig()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        dismiss_guard(self.id);
    }
}
