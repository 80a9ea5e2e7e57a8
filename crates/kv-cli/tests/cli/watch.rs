//! `kv watch`, while somebody else changes the bucket.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;
use crate::{Place, code, err};

/// A bucket in a cluster, with the words that name it.
struct Bucket {
    place: Place,
    _cluster: Cluster,
    store: String,
    /// Written once: a program that is starting may be reading it at any time.
    config: String,
}

impl Bucket {
    fn new(store: &str) -> Self {
        let (place, cluster) = (Place::new(), Cluster::new());
        let config = cluster.config(&place);
        Self {
            place,
            _cluster: cluster,
            store: store.to_owned(),
            config,
        }
    }

    fn ok(&self, words: &[&str]) -> String {
        let common = ["--store", &self.store, "--kubeconfig", &self.config];
        self.place.ok(&[words, &common].concat())
    }

    fn put(&self, key: &str, value: &str) -> String {
        self.ok(&["put", key, value]).trim().to_owned()
    }

    fn watch(&self, words: &[&str]) -> Watch {
        let common = [
            "watch",
            "--store",
            &self.store,
            "--kubeconfig",
            &self.config,
        ];
        let child = self.place.command(&[&common, words].concat()).spawn();
        Watch::of(child.unwrap())
    }
}

/// The program, watching.
struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line, however long it takes to come; what it says of its failure where it has ended.
    fn line(&mut self) -> String {
        let mut line = String::new();
        if self.lines.read_line(&mut line).unwrap() == 0 {
            let errors = self.child.stderr.as_mut().unwrap();
            errors.read_to_string(&mut line).unwrap();
        }
        line
    }

    /// Ends it as Ctrl-C does, which is no failure.
    fn interrupt(self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.ends_well();
    }

    fn ends_well(self) {
        drop(self.lines);
        let output = self.child.wait_with_output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    }
}

#[test]
fn a_person_sees_what_is_there_and_then_every_change_until_an_interrupt() {
    for store in ["configmap:default/b", "secret:default/b"] {
        let bucket = Bucket::new(store);
        let first = bucket.put("a/1", "one");
        bucket.put("b", "not asked for");
        let mut watch = bucket.watch(&["a/"]);
        let snapshot = watch.line();
        assert!(snapshot.starts_with("snapshot  ") && snapshot.ends_with("  1 entry\n"));
        assert_eq!(watch.line(), format!("entry     {first}  a/1  3 bytes\n"));
        let second = bucket.put("a/2", "2");
        assert_eq!(watch.line(), format!("put       {second}  a/2  1 byte\n"));
        bucket.ok(&["delete", "b"]);
        bucket.ok(&["delete", "a/1"]);
        let gone = watch.line();
        assert!(
            gone.starts_with("delete    ") && gone.ends_with("  a/1\n"),
            "{gone}"
        );
        bucket.ok(&["teardown", "--yes"]);
        assert_eq!(
            watch.line(),
            "snapshot  0  0 entries; the bucket was torn down\n"
        );
        watch.interrupt();
    }
}

#[test]
fn a_watch_begins_where_it_is_told_to() {
    let bucket = Bucket::new("configmap:default/b");
    let first = bucket.put("k", "1");
    let second = bucket.put("k", "2");
    let mut after = bucket.watch(&["--after", &first, "--values"]);
    assert_eq!(after.line(), format!("put       {second}  k  1 byte  2\n"));
    let third = bucket.put("k", "3");
    assert_eq!(after.line(), format!("put       {third}  k  1 byte  3\n"));
    after.interrupt();
    bucket.place.fails(2, &["watch", "--now", "--after", "1"]);
}

#[test]
fn a_watch_from_now_on_begins_with_a_change() {
    let bucket = Bucket::new("configmap:default/b");
    bucket.put("k", "before");
    let mut watch = bucket.watch(&["--now", "--values", "--output", "json"]);
    let has_seen_one = AtomicBool::new(false);
    let line = std::thread::scope(|scope| {
        // When its now is, only the program knows.
        scope.spawn(|| {
            for number in 0.. {
                bucket.put("k", &number.to_string());
                if has_seen_one.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let line = watch.line();
        has_seen_one.store(true, Ordering::Relaxed);
        line
    });
    let event: serde_json::Value = serde_json::from_str(&line).expect(&line);
    assert_eq!(
        (&event["event"], &event["key"]),
        (&"put".into(), &"k".into())
    );
    assert!(
        event["value"] != "before" && event["revision"].is_string(),
        "{line}"
    );
    watch.interrupt();
}

#[test]
fn a_watch_ends_with_its_reader_though_nothing_changes() {
    let bucket = Bucket::new("configmap:default/b");
    bucket.put("k", "v");
    let mut watch = bucket.watch(&[]);
    assert!(watch.line().starts_with("snapshot"));
    watch.ends_well();
}

#[test]
fn an_interrupt_ends_a_watch_whose_reader_takes_its_time() {
    let bucket = Bucket::new("configmap:default/b");
    bucket.put("k", &"x".repeat(100_000));
    let mut watch = bucket.watch(&["--values"]);
    assert!(watch.line().starts_with("snapshot"));
    kill_process(Pid::from_child(&watch.child), Signal::INT).unwrap();
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bucket_that_is_not_there_is_not_waited_for() {
    let bucket = Bucket::new("configmap:default/b");
    let words = [
        "watch",
        "--store",
        &bucket.store,
        "--kubeconfig",
        &bucket.config,
    ];
    bucket.place.fails(3, &words);
}

#[test]
fn a_store_in_memory_can_be_watched() {
    let place = Place::new();
    let mut watch = Watch::of(
        place
            .command(&["watch", "--store", "memory:"])
            .spawn()
            .unwrap(),
    );
    assert_eq!(watch.line(), "snapshot  0  0 entries\n");
    watch.interrupt();
}

#[test]
fn a_file_can_be_watched_though_nobody_else_can_open_it_meanwhile() {
    let place = Place::new();
    place.ok(&["put", "k", "v"]);
    let mut watch = Watch::of(place.command(&["watch"]).spawn().unwrap());
    assert_eq!(watch.line(), "snapshot  1  1 entry\n");
    assert_eq!(watch.line(), "entry     1  k  1 byte\n");
    let text = place.fails(5, &["put", "k", "other"]);
    assert!(text.contains("another process"), "{text}");
    kill_process(Pid::from_child(&watch.child), Signal::INT).unwrap();
    drop(watch.lines);
    let output = watch.child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(err(&output).contains("nobody else can open the file"));
    place.ok(&["put", "k", "other"]);
}
