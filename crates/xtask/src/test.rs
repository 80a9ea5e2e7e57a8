//! `cargo xtask test`: first what needs no cluster, then what needs a real API server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};

use crate::conformance::{REPORT_VARIABLE, Report};
use crate::guard::Guard;
use crate::process::{Group, run_teed};
use crate::source::Source;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// A kubeconfig for the tests. A variable of our own, so that nobody's production cluster is used by
/// accident.
const KUBECONFIG_VARIABLE: &str = "KV_TEST_KUBECONFIG";

/// The package with the tests that need a real API server.
const PACKAGE: &str = "kv-tests";

/// This program, for tests that want to start, kill and restart servers of their own. Not set where a
/// server is given: there may be none to start then.
const XTASK_VARIABLE: &str = "KV_TEST_XTASK";

pub(crate) fn run(workspace: &Workspace, filter: &[String]) -> anyhow::Result<ExitCode> {
    let server = Server::find(workspace)?;
    let build = server.begin_to_build(workspace)?;
    let report = empty_folder(workspace.target.join("conformance"))?;

    let everywhere = [
        "test",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
        "--",
    ];
    let mut command = workspace.cargo(everywhere);
    command
        .args(filter)
        .env(REPORT_VARIABLE, &report)
        .env_remove(KUBECONFIG_VARIABLE);
    let mut tally = run_tests("cargo test --workspace", &mut command)?;

    match test_on_server(workspace, &server, build, &report, filter) {
        Ok(later) => tally.add(later),
        Err(error) => tally.fail(format!("the tests on a real API server: {error:#}")),
    }
    if matches!(server, Server::None) {
        tell_none(&mut tally);
    }
    summarize(&report, &mut tally);
    Ok(if tally.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the tests find an API server.
enum Server {
    Given(PathBuf),
    Ours(Source),
    None,
}

impl Server {
    fn find(workspace: &Workspace) -> anyhow::Result<Self> {
        if let Some(kubeconfig) = std::env::var_os(KUBECONFIG_VARIABLE) {
            let path = std::path::absolute(kubeconfig)?;
            ensure!(
                path.is_file(),
                "{KUBECONFIG_VARIABLE}: there is no file {}",
                path.display()
            );
            eprintln!(
                "API server: the one of {KUBECONFIG_VARIABLE} ({})",
                path.display()
            );
            return Ok(Self::Given(path));
        }
        let Some(source) = Source::find(workspace)? else {
            eprintln!("API server: none; {}", Source::how_to_get_one());
            return Ok(Self::None);
        };
        source.announce();
        Ok(Self::Ours(source))
    }

    /// Lets the build go on beside the first tests.
    fn begin_to_build(&self, workspace: &Workspace) -> anyhow::Result<Option<Build>> {
        let Self::Ours(source) = self else {
            return Ok(None);
        };
        let Some(mut command) = source.build_command()? else {
            return Ok(None);
        };
        let log = workspace.target.join("apiserver/build.log");
        fs::create_dir_all(workspace.target.join("apiserver"))?;
        let file = File::create(&log)?;
        let group = Group::spawn(command.stdout(file.try_clone()?).stderr(file))?;
        Ok(Some(Build { group, log }))
    }
}

struct Build {
    group: Group,
    log: PathBuf,
}

impl Build {
    fn finish(self) -> anyhow::Result<()> {
        eprintln!("API server: waiting for its build");
        let success = self.group.wait()?.success();
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(success, "`go build` failed in tests/apiserver:\n{log}");
        Ok(())
    }
}

fn test_on_server(
    workspace: &Workspace,
    server: &Server,
    build: Option<Build>,
    report: &Path,
    filter: &[String],
) -> anyhow::Result<Tally> {
    build.map_or(Ok(()), Build::finish)?;
    let programs: Vec<&str> = workspace.test_programs(PACKAGE).collect();
    if programs.is_empty() {
        return Ok(Tally::default());
    }
    let (_guard, kubeconfig) = match server {
        Server::None => return Ok(Tally::default()),
        Server::Given(kubeconfig) => (None, kubeconfig.clone()),
        Server::Ours(_) => {
            let guard = Guard::start(workspace)?;
            let kubeconfig = guard.kubeconfig();
            (Some(guard), kubeconfig)
        }
    };
    // With the whole workspace selected, cargo takes the programs as the first tests have built them;
    // with the one package it would build most of them again, for other features of their dependencies.
    let mut command = workspace.cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    command.args(programs.iter().flat_map(|program| ["--test", program]));
    command
        .args(["--", "--ignored"])
        .args(filter)
        .env(REPORT_VARIABLE, report);
    command
        .env(KUBECONFIG_VARIABLE, kubeconfig)
        .env_remove(XTASK_VARIABLE);
    if let Server::Ours(_) = server {
        command.env(XTASK_VARIABLE, &workspace.exe);
    }
    run_tests("the tests on a real API server", &mut command)
}

fn run_tests(name: &str, command: &mut Command) -> anyhow::Result<Tally> {
    println!("== {name}");
    let mut tally = Tally::default();
    let status = run_teed(command, |line| tally.read_line(line))?;
    tally.finish(name, status.success());
    Ok(tally)
}

fn tell_none(tally: &mut Tally) {
    let waiting = tally.waiting_for_server();
    let how = Source::how_to_get_one();
    println!("\nnot run for want of a real API server: {waiting}; {how}");
    if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
        tally.fail(format!("no real API server, which CI=true demands; {how}"));
    }
}

fn summarize(report: &Path, tally: &mut Tally) {
    match Report::read(report) {
        Ok(report) if report.is_empty() => {}
        Ok(report) => println!("\n{report}"),
        Err(error) => tally.fail(format!("{error:#}")),
    }
    println!("\n{tally}");
}

fn empty_folder(path: PathBuf) -> anyhow::Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| format!("{} is in the way", path.display()))?;
    }
    fs::create_dir_all(&path).with_context(|| format!("{} could not be made", path.display()))?;
    Ok(path)
}
