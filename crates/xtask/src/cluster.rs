//! A kube-apiserver with its etcd in one folder: started, looked at, taken away.
//!
//! Everything that a cluster is lies in its folder: keys, kubeconfig, data, logs and, for each part, a
//! file with its process id. Nothing else on the machine knows of it.

mod access;
mod arguments;
mod part;
mod ports;
mod ready;

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use self::part::Part;
pub(crate) use self::part::exec as exec_part;
use self::ports::Ports;
use crate::source::Servers;

const READY_WITHIN: Duration = Duration::from_secs(120);

/// The cluster of one folder.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
}

/// What runs, as far as the folder tells.
#[derive(Debug)]
pub(crate) struct Status {
    /// Each part with its process id, if it runs.
    pub(crate) parts: Vec<(&'static str, Option<u32>)>,
    /// The URL of the API server and of etcd.
    pub(crate) urls: Option<[String; 2]>,
    pub(crate) ready: bool,
}

impl Cluster {
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Starts what does not run yet and waits until the API server is ready, or not `wanted` any more.
    pub(crate) fn up(
        &self,
        servers: &Servers,
        exe: &Path,
        wanted: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let folder = &self.folder;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("the folder {} could not be made", folder.display()))?;
        let _one_at_a_time = self.lock()?;
        let ports = self.prepare()?;

        let etcd = self.part(part::ETCD);
        let apiserver = self.part(part::APISERVER);
        etcd.start(exe, &servers.etcd, &arguments::etcd(folder, &ports))?;
        apiserver.start(
            exe,
            &servers.apiserver,
            &arguments::apiserver(folder, &ports),
        )?;
        self.wait_until_ready(&ports, &[etcd, apiserver], wanted)?;
        if let Some(manager) = &servers.manager {
            self.part(part::MANAGER)
                .start(exe, manager, &arguments::manager(folder))?;
        }
        Ok(())
    }

    /// Ends all parts and removes the folder. `false` when there was none.
    pub(crate) fn down(&self) -> anyhow::Result<bool> {
        if !self.folder.exists() {
            return Ok(false);
        }
        for part in self.parts().rev() {
            part.kill()?;
        }
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("{} could not be removed", self.folder.display()))?;
        Ok(true)
    }

    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        let mut parts = Vec::new();
        for part in self.parts() {
            parts.push((part.name(), part.running()?));
        }
        let ports = Ports::read(&self.folder)?;
        // A server that has just lost its etcd still calls itself ready for a while.
        let ready = parts[..2].iter().all(|(_, pid)| pid.is_some())
            && ports.as_ref().is_some_and(|ports| {
                access::authority(&self.folder)
                    .is_ok_and(|ca| ready::is_ready(&ca, ports.apiserver))
            });
        let urls = ports.map(|ports| [ports.apiserver_url(), ports.etcd_url()]);
        Ok(Status { parts, urls, ready })
    }

    /// Ports and keys: those of the last time while they still serve, else new ones.
    fn prepare(&self) -> anyhow::Result<Ports> {
        let runs = self.anything_runs()?;
        if let Some(ports) = Ports::read(&self.folder)?
            && (runs || ports.are_free())
        {
            return Ok(ports);
        }
        let ports = Ports::choose()?;
        access::write(&self.folder, &ports)?;
        // Last: a folder with this file has all the others.
        ports.write(&self.folder)?;
        Ok(ports)
    }

    fn wait_until_ready(
        &self,
        ports: &Ports,
        parts: &[Part],
        wanted: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let authority = access::authority(&self.folder)?;
        let start = Instant::now();
        while !ready::is_ready(&authority, ports.apiserver) {
            for part in parts {
                if part.running()?.is_none() {
                    bail!(
                        "{} stopped; its log ends so:\n{}",
                        part.name(),
                        part.end_of_log()
                    );
                }
            }
            ensure!(wanted(), "interrupted before the API server was ready");
            if start.elapsed() > READY_WITHIN {
                let seconds = READY_WITHIN.as_secs();
                bail!(
                    "the API server is not ready after {seconds} s; the logs are in {}",
                    self.folder.display()
                );
            }
            crate::process::pause(Duration::from_millis(100));
        }
        Ok(())
    }

    fn anything_runs(&self) -> anyhow::Result<bool> {
        for part in self.parts() {
            if part.running()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn part(&self, name: &'static str) -> Part {
        Part::new(&self.folder, name)
    }

    fn parts(&self) -> impl DoubleEndedIterator<Item = Part> {
        [part::ETCD, part::APISERVER, part::MANAGER]
            .into_iter()
            .map(|name| self.part(name))
    }

    fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.join("lock");
        let file =
            File::create(&path).with_context(|| format!("no access to {}", path.display()))?;
        file.lock()
            .with_context(|| format!("{} could not be locked", path.display()))?;
        Ok(file)
    }
}
