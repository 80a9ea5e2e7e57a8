//! `cargo xtask bench`: the comparison, on an API server of its own.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::guard::Guard;
use crate::process::Group;
use crate::source::Source;
use crate::workspace::Workspace;

/// The comparison of the sides.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The goals to look at, by number or name; all, unless some are given
    goals: Vec<String>,
    /// A look of a few minutes, which writes no page
    #[arg(long)]
    quick: bool,
    /// Fail where a count of requests or bytes passes its regression bound; times are never judged
    #[arg(long)]
    judge_counts: bool,
    /// Write the table and the charts to this folder, unless to `docs/benchmark`
    #[arg(long)]
    page: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(self, workspace: &Workspace) -> anyhow::Result<ExitCode> {
        let go_sides = build_go_sides(workspace)?;
        build(workspace)?;
        let Some(source) = Source::find(workspace)? else {
            bail!("no real API server; {}", Source::how_to_get_one());
        };
        source.announce();
        if let Some(mut command) = source.build_command()? {
            ensure!(
                Group::spawn(&mut command)?.wait()?.success(),
                "`go build` failed in tests/apiserver"
            );
        }
        let guard = Guard::start_no_manager(workspace)?;
        let status = guard.status()?;
        let pid = |wanted: &str| {
            let part = status.parts.iter().find(|(name, _)| *name == wanted);
            let pid = part.and_then(|(_, pid)| *pid);
            pid.with_context(|| format!("{wanted} does not run"))
        };
        let [_, etcd] = status.urls.as_ref().context("the servers have no ports")?;
        let mut command = Command::new(workspace.target.join("release/kv-bench"));
        command
            .arg("compare")
            .args(&self.goals)
            .arg("--kubeconfig")
            .arg(guard.kubeconfig())
            .args(["--etcd", etcd])
            .arg(format!("--etcd-pid={}", pid("etcd")?))
            .arg(format!("--apiserver-pid={}", pid("kube-apiserver")?))
            .arg("--go-sides")
            .arg(go_sides)
            .args(self.quick.then_some("--quick"))
            .args(self.judge_counts.then_some("--judge-counts"));
        if let Some(page) = self.page(workspace) {
            command.arg("--page").arg(page);
        }
        if source.servers().manager.is_some() {
            // What does not run yet is a controller manager.
            let up = ["cluster", "up", "--dir"];
            command.arg("--").arg(&workspace.exe).args(up);
            command.arg(guard.folder());
        }
        let success = Group::spawn(&mut command)?.wait()?.success();
        Ok(ExitCode::from(u8::from(!success)))
    }

    /// The page is only made of everything.
    fn page(&self, workspace: &Workspace) -> Option<PathBuf> {
        let whole = !self.quick && self.goals.is_empty();
        let usual = || whole.then(|| workspace.root.join("docs/benchmark"));
        self.page.clone().or_else(usual)
    }
}

fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let mut command = workspace.cargo(["build", "--release", "--package", "kv-bench"]);
    ensure!(
        Group::spawn(&mut command)?.wait()?.success(),
        "kv-bench could not be built"
    );
    Ok(())
}

fn build_go_sides(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let program = workspace.target.join("kv-bench-sides");
    let mut command = Command::new("go");
    command
        .current_dir(workspace.root.join("crates/kv-bench/sides"))
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".");
    let built = Group::spawn(&mut command).context("the comparison needs Go")?;
    ensure!(
        built.wait()?.success(),
        "`go build` failed in crates/kv-bench/sides"
    );
    Ok(program)
}
