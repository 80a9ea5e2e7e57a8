//! The example `approvals`, as a user runs it: no vote is lost and none is counted twice, while
//! replicas are killed and everything is closed and opened again.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use kv_tests::{Place, Real};

/// The example, next to which this test was built.
static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("the folder of the profile");
    let example = profile
        .join("examples")
        .join(format!("approvals{}", env::consts::EXE_SUFFIX));
    // `cargo test --workspace` has built it; a test of this package alone has not.
    if !is_current(&example) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--package",
            "kv-examples",
            "--example",
            "approvals",
        ]);
        cargo.arg("--target-dir");
        cargo.arg(profile.parent().expect("the target folder"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "the example builds");
    }
    example
});

/// Whether the program is there and newer than all its sources, which cargo lists next to it.
fn is_current(program: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let Some(built) = modified(program) else {
        return false;
    };
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let mut sources = sources.split_whitespace().skip(1);
    sources.all(|source| modified(Path::new(source)).is_some_and(|changed| changed <= built))
}

/// Runs the example; it checks itself, and this checks that it did.
fn run(store: &str, replicas: u32, votes: u32, kills: u32) {
    let mut example = Command::new(&*EXAMPLE);
    example.args(["--store", store]);
    example.args(["--processes", &replicas.to_string()]);
    example.args(["--votes", &votes.to_string()]);
    example.args(["--kills", &kills.to_string()]);
    if let Some(kubeconfig) = env::var_os(Real::KUBECONFIG) {
        example.env("KUBECONFIG", kubeconfig);
    }
    let output = example.output().expect("the example runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "{status}: {printed}{errors}");
    let expected = format!("votes {}, lost 0, doubled 0\n", replicas * votes);
    assert!(printed.contains(&expected), "{printed}");
}

#[test]
fn no_vote_is_lost_in_memory() {
    run("memory:", 4, 500, 4);
}

#[test]
fn no_vote_is_lost_in_a_file_that_is_closed_and_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("file:{}", folder.path().join("approvals.redb").display());
    run(&store, 4, 100, 4);
    // Another process goes on where this one ended.
    run(&store, 4, 200, 4);
}

#[tokio::test]
#[ignore = "needs a real API server"]
async fn no_vote_of_four_processes_is_lost_in_a_config_map() {
    let place = Real::new().await;
    let store = format!("configmap:{}/approvals", place.namespace());
    let run = tokio::task::spawn_blocking(move || run(&store, 4, 500, 2)).await;
    place.finish().await;
    run.expect("no vote is lost");
}
