//! A process that is killed, and a process that holds the file: this test runs itself again as a
//! child, see [`the_child`].

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use kv_core::{OpenMode, prelude::*};
use kv_redb::RedbStore;

/// Tells the child which file to write to.
const CHILD: &str = "KV_REDB_TEST_CHILD";

/// Not a test of its own: what the child does. It puts transactions of two keys until it is
/// killed, from several tasks, and prints the number of each one that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn the_child() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let store = RedbStore::open(path, OpenMode::OpenOrCreate).await.unwrap();
    let first = store.list("left/").await.unwrap().len() * 10 + 1_000;
    let tasks = (0..4).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (first + task..).step_by(4) {
                let key = |side| Key::new(format!("{side}/{number:09}")).unwrap();
                let value = vec![number as u8; number % 3_000];
                let both = Transaction::new()
                    .put(key("left"), value.clone())
                    .put(key("right"), value);
                store.commit(both).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {number}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

fn spawn_child(path: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn acknowledged(line: &str) -> Option<usize> {
    line.trim().strip_prefix("acknowledged ")?.parse().ok()
}

/// Waits for the first acknowledgement, then for `longer`, kills the child, and returns the numbers of
/// all that it acknowledged.
async fn run_and_kill(path: &Path, longer: Duration) -> Vec<usize> {
    let (mut child, mut stdout) = spawn_child(path);
    let mut line = String::new();
    while acknowledged(&line).is_none() {
        line.clear();
        let length = stdout.read_line(&mut line).unwrap();
        assert!(length > 0, "the child ended by itself");
    }
    let first = acknowledged(&line);
    tokio::time::sleep(longer).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = stdout.lines().map(Result::unwrap);
    // A line that the kill has cut may end in half a number.
    let mut rest: Vec<String> = lines.collect();
    rest.pop();
    first
        .into_iter()
        .chain(rest.iter().filter_map(|line| acknowledged(line)))
        .collect()
}

#[tokio::test]
async fn whatever_was_acknowledged_before_a_kill_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.redb");
    let mut all = Vec::new();
    for round in 0..8 {
        let longer = Duration::from_millis(rand::random_range(0..150));
        all.extend(run_and_kill(&path, longer).await);
        let store = RedbStore::open(&path, OpenMode::Open).await.unwrap();
        for number in &all {
            let entry = store.get(format!("left/{number:09}")).await.unwrap();
            let entry = entry.unwrap_or_else(|| panic!("{number} is lost in round {round}"));
            assert!(entry.value == vec![*number as u8; number % 3_000]);
        }
        let sides = [store.list("left/"), store.list("right/")];
        let [left, right] = sides;
        let (left, right) = (left.await.unwrap(), right.await.unwrap());
        let revisions = |side: &[Entry]| side.iter().map(|e| e.revision).collect::<Vec<_>>();
        assert_eq!(revisions(&left), revisions(&right), "a torn transaction");
        let usage = store.usage().await.unwrap();
        assert_eq!(usage.entries as usize, left.len() + right.len());
    }
    assert!(all.len() > 100, "only {} were acknowledged", all.len());
}

/// The file is made under another name, so that this leaves a whole file or none.
#[tokio::test]
async fn a_kill_while_the_file_is_made_leaves_a_place_that_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = directory.path().join(format!("{round}.redb"));
        let (mut child, _stdout) = spawn_child(&path);
        tokio::time::sleep(Duration::from_millis(rand::random_range(5..40))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let store = RedbStore::open(&path, OpenMode::OpenOrCreate)
            .await
            .unwrap();
        store.put("k", "v").await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_another_process_holds_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.redb");
    let (mut child, mut stdout) = spawn_child(&path);
    let mut line = String::new();
    while acknowledged(&line).is_none() {
        line.clear();
        stdout.read_line(&mut line).unwrap();
    }
    for mode in [OpenMode::Open, OpenMode::Create, OpenMode::OpenOrCreate] {
        let error = RedbStore::open(&path, mode).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        let expected = format!(
            "redb file {path:?} is unavailable: another process holds the file; wait until it has \
             closed it, or stop it"
        );
        assert_eq!(error.to_string(), expected);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    RedbStore::open(&path, OpenMode::Open).await.unwrap();
}
