//! Where the real API server comes from: installed binaries, or our Go program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::workspace::Workspace;

/// What the tools and tests of controllers use to find the binaries of Kubernetes.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A place that has the servers, in the order of preference.
#[derive(Debug)]
pub(crate) enum Source {
    /// Binaries that somebody installed.
    Assets(PathBuf),
    /// The Go program in `tests/apiserver`, which has the servers as sub-commands.
    GoProgram { folder: PathBuf, binary: PathBuf },
}

/// The beginning of a command line of each server.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) etcd: Vec<String>,
    pub(crate) apiserver: Vec<String>,
    /// Collects garbage and empties deleted namespaces; the other two do without it.
    pub(crate) manager: Option<Vec<String>>,
}

impl Source {
    /// Looks for the servers. `None` when this machine has no way to get them.
    pub(crate) fn find(workspace: &Workspace) -> anyhow::Result<Option<Self>> {
        if let Some(assets) = std::env::var_os(ASSETS).filter(|value| !value.is_empty()) {
            let folder = PathBuf::from(assets);
            for name in ["etcd", "kube-apiserver"] {
                ensure!(
                    folder.join(name).is_file(),
                    "{ASSETS} is {}, where there is no {name}; unset it, or install the binaries there",
                    folder.display(),
                );
            }
            return Ok(Some(Self::Assets(folder)));
        }
        let go = Command::new("go")
            .arg("version")
            .stdout(Stdio::null())
            .status();
        Ok(go
            .is_ok_and(|status| status.success())
            .then(|| Self::GoProgram {
                folder: workspace.root.join("tests/apiserver"),
                binary: workspace.target.join("apiserver/apiserver"),
            }))
    }

    /// What to say when there is none.
    pub(crate) fn how_to_get_one() -> String {
        format!("put `go` into the PATH, or set {ASSETS} to a folder with etcd and kube-apiserver")
    }

    /// Says aloud what will be used.
    pub(crate) fn announce(&self) {
        match self {
            Self::Assets(folder) => {
                eprintln!(
                    "API server: the binaries in {ASSETS} ({})",
                    folder.display()
                );
                if !folder.join("kube-controller-manager").is_file() {
                    eprintln!("  no kube-controller-manager there: deleted namespaces stay");
                }
            }
            Self::GoProgram { binary, .. } => {
                eprintln!("API server: the Go program in tests/apiserver");
                if !binary.is_file() {
                    eprintln!("  its first build takes minutes");
                }
            }
        }
    }

    /// The command that makes the binary, if there is something to make.
    ///
    /// Go's cache knows what is up to date; nothing here tries to know it better.
    pub(crate) fn build_command(&self) -> anyhow::Result<Option<Command>> {
        let Self::GoProgram { folder, binary } = self else {
            return Ok(None);
        };
        let go_mod = std::fs::read_to_string(folder.join("go.mod"))
            .with_context(|| format!("{} has no go.mod", folder.display()))?;
        let version = kubernetes_version(&go_mod)
            .with_context(|| format!("{} requires no k8s.io/kubernetes", folder.display()))?;
        let mut command = Command::new("go");
        command
            .current_dir(folder)
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                &version.linker_flags(),
            ])
            .arg("-o")
            .arg(binary)
            .arg(".");
        Ok(Some(command))
    }

    /// How to start the servers, once they are built.
    pub(crate) fn servers(&self) -> Servers {
        match self {
            Self::Assets(folder) => {
                let binary = |name: &str| vec![path_text(&folder.join(name))];
                let manager = "kube-controller-manager";
                Servers {
                    etcd: binary("etcd"),
                    apiserver: binary("kube-apiserver"),
                    manager: folder.join(manager).is_file().then(|| binary(manager)),
                }
            }
            Self::GoProgram { binary, .. } => {
                let command = |name: &str| vec![path_text(binary), name.to_owned()];
                Servers {
                    etcd: command("etcd"),
                    apiserver: command("kube-apiserver"),
                    manager: Some(command("kube-controller-manager")),
                }
            }
        }
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[derive(Debug, PartialEq)]
struct KubernetesVersion<'a> {
    major: &'a str,
    minor: &'a str,
    full: &'a str,
}

impl KubernetesVersion<'_> {
    /// A server built without these answers `v0.0.0`, which clients can't parse.
    fn linker_flags(&self) -> String {
        let package = "k8s.io/component-base/version";
        format!(
            "-s -w -X {package}.gitVersion={} -X {package}.gitMajor={} -X {package}.gitMinor={}",
            self.full, self.major, self.minor
        )
    }
}

fn kubernetes_version(go_mod: &str) -> Option<KubernetesVersion<'_>> {
    let full = go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))?
        .split_whitespace()
        .next()?;
    let mut numbers = full.strip_prefix('v')?.split('.');
    Some(KubernetesVersion {
        major: numbers.next()?,
        minor: numbers.next()?,
        full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_go_mod() {
        let go_mod =
            "require (\n\tk8s.io/kube-openapi v0.0.0\n\tk8s.io/kubernetes v1.36.3 // why\n)\n";
        let version = KubernetesVersion {
            major: "1",
            minor: "36",
            full: "v1.36.3",
        };
        assert_eq!(kubernetes_version(go_mod), Some(version));
    }

    #[test]
    fn no_version_without_kubernetes() {
        assert_eq!(
            kubernetes_version("require (\n\tk8s.io/api v0.36.3\n)\n"),
            None
        );
    }
}
