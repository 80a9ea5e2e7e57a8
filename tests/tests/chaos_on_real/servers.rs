//! The API server with its etcd: our own, whose processes can be paused and killed, or one that
//! is given, of which only the way to it can be made bad.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kv_tests::Real;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program that starts servers; `cargo xtask test` sets it where it has servers to start.
const XTASK: &str = "KV_TEST_XTASK";

pub(crate) const APISERVER: &str = "kube-apiserver";
pub(crate) const ETCD: &str = "etcd";

/// The servers, gone when they are dropped.
pub(crate) enum Servers {
    Own(Own),
    Given(PathBuf),
}

/// A `cargo xtask cluster serve` of ours.
pub(crate) struct Own {
    xtask: PathBuf,
    serve: Child,
    /// The parent of the cluster's folder, which `serve` removes.
    folder: TempDir,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let Some(xtask) = std::env::var_os(XTASK).map(PathBuf::from) else {
            let given = std::env::var_os(Real::KUBECONFIG);
            let given = given.expect("`cargo xtask test` sets KV_TEST_KUBECONFIG");
            crate::tell(format_args!(
                "{XTASK} is not set: no server is paused or killed"
            ));
            return Self::Given(given.into());
        };
        let own = tokio::task::spawn_blocking(|| Own::start(xtask)).await;
        Self::Own(own.expect("the servers start"))
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Own(own) => own.cluster().join("kubeconfig"),
            Self::Given(path) => path.clone(),
        }
    }

    /// Where the API server listens.
    pub(crate) async fn address(&self) -> SocketAddr {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let url = config.expect("a usable kubeconfig").cluster_url;
        let (host, port) = (url.host().expect("a host"), url.port_u16().unwrap_or(443));
        let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs();
        addresses
            .expect("a name that is known")
            .next()
            .expect("an address")
    }
}

impl Own {
    fn start(xtask: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut serve = Command::new(&xtask)
            .args(["cluster", "serve", "--dir"])
            .arg(folder.path().join("cluster"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("xtask starts");
        let mut ready = String::new();
        let output = serve.stdout.take().expect("a pipe");
        let read = BufReader::new(output).read_line(&mut ready);
        assert!(
            read.is_ok_and(|length| length > 0),
            "the servers do not start; see above"
        );
        Self {
            xtask,
            serve,
            folder,
        }
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// Stops the process for that time, and lets it go on.
    pub(crate) async fn pause(&self, server: &str, time: Duration) {
        let pid = pid_in(&self.cluster(), server);
        signal(pid, Signal::STOP);
        tokio::time::sleep(time).await;
        signal(pid, Signal::CONT);
    }

    /// Kills these processes, and starts them again on their data after that time.
    ///
    /// What was written is in the cache of the system, and survives the process: this shows what
    /// is lost with the memory of a server, not with that of a machine.
    pub(crate) async fn kill(&self, servers: &[&str], time: Duration) -> Result<(), String> {
        for server in servers {
            signal(pid_in(&self.cluster(), server), Signal::KILL);
        }
        tokio::time::sleep(time).await;
        let mut why = String::new();
        for _ in 0..5 {
            let up = tokio::process::Command::new(&self.xtask)
                .args(["cluster", "up", "--dir"])
                .arg(self.cluster())
                .output()
                .await
                .expect("xtask starts");
            if up.status.success() {
                return Ok(());
            }
            why = String::from_utf8_lossy(&up.stderr).into_owned();
        }
        Err(format!("{servers:?} do not start again: {why}"))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.serve.stdin.take());
        let _ = self.serve.wait();
    }
}

fn pid_in(cluster: &Path, server: &str) -> u32 {
    let path = cluster.join(format!("{server}.pid"));
    let pid = fs::read_to_string(&path).expect("the server has a file with its process id");
    pid.trim().parse().expect("a process id")
}

/// Sends a signal to a process of ours; one that has ended meanwhile does not need it.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a process id"), signal);
}
