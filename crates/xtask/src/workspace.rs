//! Where things are: the folders and packages of this workspace, as cargo knows them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The workspace that this command belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
    /// This program's own file. Asked for once at the start: a build during the run may replace the
    /// file, and the system's answer would then name one that is gone.
    pub(crate) exe: PathBuf,
}

/// A package of the workspace, its features and what it builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
}

/// A library, a binary or a test program of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

impl Workspace {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("this program's own file is not known")?;
        // Not the folder of the build: checkouts that share a target directory share this program.
        let folder = std::env::var_os("CARGO_MANIFEST_DIR");
        let folder = folder.context("no CARGO_MANIFEST_DIR: run this as `cargo xtask`")?;
        let output = Command::new(cargo_program())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(folder)
            .stderr(Stdio::inherit())
            .output()
            .context("cargo could not be started; run this as `cargo xtask`")?;
        ensure!(
            output.status.success(),
            "`cargo metadata` failed; see its message above"
        );
        let metadata: Metadata = serde_json::from_slice(&output.stdout)
            .context("`cargo metadata` printed something unexpected")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages: metadata.packages,
            exe,
        })
    }

    /// The test programs in the folder `tests/` of a package.
    pub(crate) fn test_programs(&self, package: &str) -> impl Iterator<Item = &str> {
        let packages = self
            .packages
            .iter()
            .filter(move |candidate| candidate.name == package);
        packages
            .flat_map(|package| &package.targets)
            .filter(|target| target.kind.iter().any(|kind| kind == "test"))
            .map(|target| target.name.as_str())
    }

    /// A cargo command in the root of the workspace.
    pub(crate) fn cargo<I>(&self, args: I) -> Command
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        let mut command = Command::new(cargo_program());
        command.args(args).current_dir(&self.root);
        command
    }
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
