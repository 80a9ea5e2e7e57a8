//! The ports of a cluster, all on the loopback.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

const FILE: &str = "ports.json";

/// Chosen at the first start, and kept while nobody else takes them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) apiserver: u16,
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
}

impl Ports {
    pub(crate) fn choose() -> anyhow::Result<Self> {
        // All three are held until each is known, so that they differ.
        let [apiserver, etcd, etcd_peer] = [free()?, free()?, free()?];
        Ok(Self {
            apiserver: apiserver.local_addr()?.port(),
            etcd: etcd.local_addr()?.port(),
            etcd_peer: etcd_peer.local_addr()?.port(),
        })
    }

    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", path.display()));
            }
        };
        // One that was cut off while it was written is as good as none.
        Ok(serde_json::from_slice(&text).ok())
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join(FILE), serde_json::to_vec(self)?).context("no ports.json")
    }

    pub(crate) fn are_free(&self) -> bool {
        [self.apiserver, self.etcd, self.etcd_peer]
            .into_iter()
            .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    pub(crate) fn apiserver_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver)
    }

    pub(crate) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }

    pub(crate) fn etcd_peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_peer)
    }
}

fn free() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback")
}
