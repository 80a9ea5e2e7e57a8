//! `cargo xtask cluster up`, `status` and `down`.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, TryRecvError};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};

use crate::cluster::{self, Cluster};
use crate::shell;
use crate::source::{Servers, Source};
use crate::workspace::Workspace;

/// A cluster of a shell, in `target/cluster` unless a test wants one of its own elsewhere.
#[derive(Debug, Args)]
pub(crate) struct ClusterCommand {
    #[command(subcommand)]
    action: Action,
    /// Keep the cluster in this folder
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start it, wait until it is ready, and print what a shell has to `eval`
    Up,
    /// End it and remove all its files
    Down,
    /// Say what runs and where the logs are; the exit code is 0 if it is ready
    Status,
    /// Like `up`, then wait for the end of the standard input, then like `down`
    Serve {
        /// Run no more than the API server and its etcd
        #[arg(long)]
        no_controller_manager: bool,
    },
    /// Become a server process of a cluster
    #[command(hide = true)]
    Exec {
        pid_file: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

impl ClusterCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let command = match self.action {
            Action::Up => up,
            Action::Down => down,
            Action::Status => status,
            Action::Serve {
                no_controller_manager: true,
            } => serve_no_manager,
            Action::Serve { .. } => serve,
            Action::Exec { pid_file, command } => {
                return Err(cluster::exec_part(&pid_file, &command));
            }
        };
        let workspace = Workspace::find()?;
        let folder = match self.dir {
            Some(folder) => std::path::absolute(folder)?,
            None => workspace.target.join("cluster"),
        };
        command(&workspace, &Cluster::at(folder))
    }
}

fn up(workspace: &Workspace, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    let source = source(workspace)?;
    source.announce();
    let servers = built_servers(&source)?;
    cluster.up(&servers, &workspace.exe, || true)?;
    eprintln!(
        "ready; its files and logs are in {}",
        cluster.folder().display()
    );
    println!("{}", export(cluster));
    Ok(ExitCode::SUCCESS)
}

fn down(_: &Workspace, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    if cluster.down()? {
        eprintln!("ended; {} is removed", cluster.folder().display());
    } else {
        eprintln!("there is no cluster in {}", cluster.folder().display());
    }
    Ok(ExitCode::SUCCESS)
}

fn status(_: &Workspace, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    let status = cluster.status()?;
    for (name, pid) in &status.parts {
        match pid {
            Some(pid) => println!("{name:<24} running, process {pid}"),
            None => println!("{name:<24} not running"),
        }
    }
    if let Some([apiserver, etcd]) = &status.urls {
        println!("{:<24} {apiserver}", "API server");
        println!("{:<24} {etcd}", "etcd");
        println!("{:<24} {}", "kubeconfig", cluster.kubeconfig().display());
        println!("{:<24} {}/*.log", "logs", cluster.folder().display());
    }
    println!(
        "{}",
        if status.ready {
            "ready"
        } else {
            "not ready; `cargo xtask cluster up` starts it"
        }
    );
    Ok(if status.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn serve(workspace: &Workspace, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    hold(workspace, cluster, |servers| servers)
}

fn serve_no_manager(workspace: &Workspace, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    hold(workspace, cluster, |servers| Servers {
        manager: None,
        ..servers
    })
}

/// Holds a cluster for another program: it lives until that program closes its end of the pipe, which
/// the system does for it however it ends.
fn hold(
    workspace: &Workspace,
    cluster: &Cluster,
    choose: fn(Servers) -> Servers,
) -> anyhow::Result<ExitCode> {
    // Ctrl-C in the terminal is for the other program. It fails only for the leader of a group, whom
    // Ctrl-C does not reach either.
    let _ = rustix::process::setsid();
    let (open, closed) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(open);
    });
    let wanted = || closed.try_recv() != Err(TryRecvError::Disconnected);
    let up = built_servers(&source(workspace)?)
        .and_then(|servers| cluster.up(&choose(servers), &workspace.exe, wanted));
    if up.is_ok() {
        // Nobody may be there to read it any more, which the next line finds out.
        let _ = writeln!(std::io::stdout(), "{}", export(cluster));
        let _ = closed.recv();
    }
    cluster.down()?;
    up.map(|()| ExitCode::SUCCESS)
}

fn source(workspace: &Workspace) -> anyhow::Result<Source> {
    Source::find(workspace)?.with_context(|| format!("no API server: {}", Source::how_to_get_one()))
}

fn built_servers(source: &Source) -> anyhow::Result<Servers> {
    if let Some(mut build) = source.build_command()? {
        let status = build
            .stdout(std::io::stderr())
            .status()
            .context("`go` did not start")?;
        ensure!(
            status.success(),
            "`go build` failed in tests/apiserver; see its message above"
        );
    }
    Ok(source.servers())
}

fn export(cluster: &Cluster) -> String {
    format!(
        "export KUBECONFIG={}",
        shell::quote(&cluster.kubeconfig().to_string_lossy())
    )
}
