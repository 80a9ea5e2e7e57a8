//! The built program, run as a script or a person runs it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by a panic, too")]

#[path = "cli/check.rs"]
mod check;
#[path = "cli/cluster.rs"]
mod cluster;
#[path = "cli/single_object.rs"]
mod single_object;
#[cfg(unix)]
#[path = "cli/watch.rs"]
mod watch;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A directory of its own, and the store in it that commands use unless they say otherwise.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn store(&self) -> String {
        format!("file:{}", self.path().join("kv.redb").display())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
        command
            .args(words)
            .env_clear()
            .env("KV_STORE", self.store())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn run_with(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        // The program may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed and say nothing on standard error; returns what it prints.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(code(&output), 0, "{words:?}: {}", err(&output));
        assert_eq!(err(&output), "", "{words:?}");
        out(&output)
    }

    /// Runs a command that must fail with that code and print nothing; returns its complaint.
    fn fails(&self, expected: i32, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(code(&output), expected, "{words:?}: {}", err(&output));
        assert_eq!(out(&output), "", "{words:?}");
        err(&output)
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("not ended by a signal")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_byte_goes_in_and_comes_out_unchanged() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n\n").collect();
    assert_eq!(code(&place.run_with(&["put", "stdin", "-"], &bytes)), 0);
    assert_eq!(place.run(&["get", "stdin"]).stdout, bytes);

    let file = place.path().join("value");
    std::fs::write(&file, &bytes).unwrap();
    place.ok(&["put", "file", "--file", file.to_str().unwrap()]);
    assert_eq!(place.run(&["get", "file"]).stdout, bytes);

    place.ok(&["put", "argument", "no newline is added: é"]);
    assert_eq!(place.ok(&["get", "argument"]), "no newline is added: é");
    place.ok(&["put", "empty", ""]);
    assert_eq!(place.ok(&["get", "empty"]), "");
}

#[test]
fn what_is_missing_has_its_own_exit_code_and_reading_creates_nothing() {
    let place = Place::new();
    for words in [
        ["get", "k"].as_slice(),
        &["list"],
        &["usage"],
        &["delete", "k"],
        &["teardown", "--yes"],
        &["put", "k", "v", "--if-revision", "1"],
    ] {
        let text = place.fails(3, words);
        let path = place.path().join("kv.redb");
        let expected = format!(
            "kv: redb file {path:?} does not exist; create it first\n  \
             hint: `kv put` creates a bucket; --store says which one is meant\n"
        );
        assert_eq!(text, expected);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
    place.ok(&["put", "other", "v"]);
    assert_eq!(
        place.fails(3, &["get", "k\n"]),
        "kv: key \"k\\n\" does not exist\n"
    );
    assert_eq!(
        place.fails(3, &["delete", "k"]),
        "kv: key \"k\" does not exist\n"
    );
}

#[test]
fn conditions_that_fail_have_their_own_exit_code() {
    let place = Place::new();
    let first = place.ok(&["put", "k", "one", "--create"]);
    let text = place.fails(4, &["put", "k", "two", "--create"]);
    assert!(
        text.starts_with("kv: key \"k\" already exists, at revision 1\n  hint: "),
        "{text}"
    );
    let second = place.ok(&["put", "k", "two", "--if-revision", first.trim()]);
    assert!(second.trim().parse::<u64>().unwrap() > first.trim().parse().unwrap());
    let text = place.fails(4, &["put", "k", "three", "--if-revision", first.trim()]);
    assert!(
        text.contains("expected revision 1, found revision 2"),
        "{text}"
    );
    place.fails(4, &["delete", "k", "--if-revision", first.trim()]);
    assert_eq!(place.ok(&["get", "k"]), "two");
    assert_eq!(
        place.ok(&["delete", "k", "--if-revision", second.trim()]),
        ""
    );
    place.fails(3, &["get", "k"]);
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let place = Place::new();
    for words in [
        [].as_slice(),
        &["put", "k"],
        &["put", "k", "v", "--file", "f"],
        &["put", "", "v"],
        &["put", "k", "v", "--ttl", "0s"],
        &["put", "k", "v", "--ttl", "soon"],
        &["get"],
        &["get", "k", "--output", "yaml"],
        &["list", "--limit", "some"],
        &["unknown"],
    ] {
        place.fails(2, words);
    }
    let text = place.fails(2, &["get", "", "--store", "memory:"]);
    assert!(text.contains("a key has at least one byte"), "{text}");
}

#[test]
fn a_store_that_is_none_says_how_one_is_written() {
    let place = Place::new();
    for store in [
        "configmap:",
        "configmap:default",
        "secret:/b",
        "secret:default/",
    ] {
        let text = place.fails(2, &["list", "--store", store]);
        assert!(text.contains(":NAMESPACE/BUCKET"), "{store}: {text}");
    }
    let text = place.fails(2, &["list", "--store", "etcd:x"]);
    assert!(
        text.contains("file:PATH") && text.contains("memory:"),
        "{text}"
    );
}

#[test]
fn a_memory_store_is_empty_each_time() {
    let place = Place::new();
    assert_eq!(place.ok(&["put", "k", "v", "--store", "memory:"]), "1\n");
    place.fails(3, &["get", "k", "--store", "memory:"]);
}

#[test]
fn without_a_store_the_file_is_in_the_data_directory() {
    let place = Place::new();
    let run = |variable: &str, words: &[&str]| {
        let mut command = place.command(words);
        command.env_remove("KV_STORE").env(variable, place.path());
        command.output().unwrap()
    };
    assert_eq!(code(&run("XDG_DATA_HOME", &["get", "k"])), 3);
    assert!(!place.path().join("kv").exists(), "reading creates nothing");
    assert_eq!(code(&run("XDG_DATA_HOME", &["put", "k", "data"])), 0);
    assert!(place.path().join("kv/default.redb").exists());
    assert_eq!(code(&run("HOME", &["put", "k", "home"])), 0);
    assert!(place.path().join(".local/share/kv/default.redb").exists());
    assert_eq!(out(&run("XDG_DATA_HOME", &["get", "k"])), "data");
    assert_eq!(code(&run("NOTHING", &["put", "k", "v"])), 2);

    let chosen = format!("file:{}", place.path().join("missing/kv.redb").display());
    let text = place.fails(3, &["put", "k", "v", "--store", &chosen]);
    assert!(text.contains("the directory of"), "{text}");
    assert!(!place.path().join("missing").exists());
}

#[test]
fn a_list_is_a_table_that_no_key_can_break() {
    let place = Place::new();
    place.ok(&["put", "a/1", "x"]);
    place.ok(&["put", "a/\u{1b}[2J\n", "two"]);
    place.ok(&["put", "b", "y", "--ttl", "7d"]);
    let expected = "\
KEY            REVISION  SIZE  EXPIRES
a/\\u{1b}[2J\\n  2         3     -
a/1            1         1     -
";
    assert_eq!(place.ok(&["list", "a/"]), expected);

    let expiring = place.ok(&["list", "b"]);
    assert!(
        expiring.contains("T") && expiring.trim_end().ends_with('Z'),
        "{expiring}"
    );
    assert!(
        place
            .ok(&["list", "b", "--values"])
            .trim_end()
            .ends_with(" y")
    );
    assert_eq!(
        place.ok(&["list", "nothing"]),
        "KEY  REVISION  SIZE  EXPIRES\n"
    );

    let some = place.run(&["list", "--limit", "1"]);
    assert_eq!(out(&some).lines().count(), 2);
    assert!(err(&some).contains("more keys"), "{}", err(&some));
}

#[test]
fn json_is_one_object_on_each_line() {
    let place = Place::new();
    place.ok(&["put", "text", "é\n"]);
    place.run_with(&["put", "bytes", "-"], b"\xff\x00");
    let lines: Vec<serde_json::Value> = place
        .ok(&["list", "--output", "json", "--values"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = serde_json::json!([
        { "key": "bytes", "revision": "2", "size": 2, "value_base64": "/wA=" },
        { "key": "text", "revision": "1", "size": 3, "value": "é\n" },
    ]);
    assert_eq!(serde_json::Value::Array(lines), expected);
    assert_eq!(
        place.ok(&["get", "text", "--output", "json"]),
        "{\"key\":\"text\",\"revision\":\"1\",\"size\":3,\"value\":\"é\\n\"}\n"
    );
    assert!(!place.ok(&["list", "--output", "json"]).contains("value"));
    assert_eq!(
        place.ok(&["usage", "--output", "json"]),
        "{\"entries\":2,\"bytes\":14,\"limit\":null,\"revision\":\"2\"}\n"
    );
    assert_eq!(
        place.ok(&["usage"]),
        "entries   2\nbytes     14\nlimit     none\nrevision  2\n"
    );
}

#[test]
fn a_key_with_a_time_to_live_goes_away() {
    let place = Place::new();
    place.ok(&["put", "k", "v", "--ttl", "200ms"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while code(&place.run(&["get", "k"])) == 0 {
        assert!(Instant::now() < deadline, "the key does not expire");
    }
    place.fails(3, &["get", "k"]);
}

#[test]
fn a_value_that_cannot_be_read_or_is_too_large_is_refused_before_the_store_is_touched() {
    let place = Place::new();
    let text = place.fails(1, &["put", "k", "--file", "/does/not/exist"]);
    assert!(text.starts_with("kv: cannot read the value from \"/does/not/exist\"\n  caused by: "));
    let large = place.path().join("large");
    std::fs::File::create(&large)
        .unwrap()
        .set_len(16 * 1024 * 1024 + 1)
        .unwrap();
    let text = place.fails(1, &["put", "k", "--file", large.to_str().unwrap()]);
    assert!(text.contains("more than 16777216 bytes"), "{text}");
    assert!(!place.path().join("kv.redb").exists());
}

#[test]
fn a_teardown_is_refused_where_nobody_can_be_asked() {
    let place = Place::new();
    place.ok(&["put", "k", "v"]);
    let text = place.fails(2, &["teardown"]);
    assert!(
        text.contains("give --yes") && text.contains("kv.redb"),
        "{text}"
    );
    // An answer from a pipe is none: `yes | kv teardown` must not do it.
    let piped = place.run_with(&["teardown"], b"kv.redb\n");
    assert_eq!(code(&piped), 2);
    assert_eq!(place.ok(&["get", "k"]), "v");
    place.ok(&["teardown", "--yes"]);
    place.fails(3, &["get", "k"]);
    place.fails(3, &["teardown", "--yes"]);
    assert_eq!(place.ok(&["put", "k", "again"]), "3\n");
}

#[cfg(unix)]
#[test]
fn on_a_terminal_a_teardown_asks_for_the_name_of_the_bucket() {
    let place = Place::new();
    place.ok(&["put", "k", "v"]);
    let answer = |text: &str| {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .unwrap();
        let mut master = std::fs::File::from(master);
        master.write_all(text.as_bytes()).unwrap();
        let mut command = place.command(&["teardown"]);
        command.stdin(terminal).output().unwrap()
    };
    for wrong in ["\n", "y\n", "yes\n", "kv\n", "\u{4}"] {
        let output = answer(wrong);
        assert_eq!(code(&output), 1, "{wrong:?}");
        assert!(err(&output).contains("Type the name of the bucket, kv.redb, to go on: "));
        assert!(
            err(&output).ends_with("nothing was removed\n"),
            "{}",
            err(&output)
        );
    }
    assert_eq!(place.ok(&["get", "k"]), "v");
    assert_eq!(code(&answer("kv.redb\n")), 0);
    place.fails(3, &["get", "k"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new();
    let value = "x".repeat(1 << 20);
    let put = place.run_with(&["put", "k", "-"], value.as_bytes());
    assert_eq!(code(&put), 0);
    let mut child = place.command(&["get", "k"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_with_the_code_of_an_interrupt() {
    let place = Place::new();
    let mut command = place.command(&["put", "k", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // It waits for its input; before it does, a signal would end it in its own way.
    let deadline = Instant::now() + Duration::from_secs(20);
    let caught = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0)
    };
    while !caught(&std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap()) {
        assert!(
            Instant::now() < deadline,
            "the program does not listen to interrupts"
        );
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let input = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!(
        (code(&output), err(&output).as_str()),
        (130, "kv: interrupted\n")
    );
    assert!(!place.path().join("kv.redb").exists());
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let place = Place::new();
    let path = place.path().join("kv.redb");
    std::fs::write(&path, "dear diary").unwrap();
    for words in [
        ["put", "k", "v"].as_slice(),
        &["list"],
        &["teardown", "--yes"],
    ] {
        let text = place.fails(1, words);
        assert!(text.contains("was not made by this store"), "{text}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"dear diary");
}

/// A kubeconfig that points to a port on which nobody listens, or to one where nobody answers.
fn kubeconfig(place: &Place, port: u16) -> String {
    let path = place.path().join("kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c,
          clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}],
          users: [{{name: c, user: {{}}}}],
          contexts: [{{name: c, context: {{cluster: c, user: c}}}}]}}"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_api_server_that_does_not_answer_is_unavailable_within_the_timeout() {
    let place = Place::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let ports = [port(&silent), port(&closed)];
    drop(closed);
    for port in ports {
        let config = kubeconfig(&place, port);
        for store in ["configmap:default/b", "secret:default/b"] {
            for words in [
                ["get", "k"].as_slice(),
                &["put", "k", "v"],
                &["teardown", "--yes"],
            ] {
                let began = Instant::now();
                let common = ["--store", store, "--kubeconfig", &config, "--timeout", "1s"];
                let text = place.fails(5, &[words, &common].concat());
                assert!(began.elapsed() < Duration::from_secs(3), "{words:?}");
                assert!(
                    text.contains("unavailable") && text.contains("hint:"),
                    "{text}"
                );
            }
        }
    }
}

/// Answers every request with that body, and returns its port.
fn serve(status: &'static str, body: &'static str) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 16 * 1024];
            let _ = connection.read(&mut request);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn what_the_api_server_forbids_has_its_own_exit_code() {
    let place = Place::new();
    let forbidden = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
        "message":"anna cannot get configmaps","reason":"Forbidden","code":403}"#;
    let config = kubeconfig(&place, serve("403 Forbidden", forbidden));
    let common = ["--store", "configmap:default/b", "--kubeconfig", &config];
    for words in [["get", "k"].as_slice(), &["put", "k", "v"]] {
        let text = place.fails(7, &[words, &common].concat());
        assert!(text.contains("anna cannot get configmaps"), "{text}");
    }
}

#[test]
fn a_kubeconfig_that_is_missing_or_lacks_the_context_is_named() {
    let place = Place::new();
    let list = ["list", "--store", "configmap:default/b"];
    let missing = ["--kubeconfig", "/does/not/exist"];
    let text = place.fails(1, &[list.as_slice(), &missing].concat());
    assert!(
        text.contains("/does/not/exist") && text.contains("hint: "),
        "{text}"
    );
    let config = kubeconfig(&place, 1);
    let context = ["--kubeconfig", &config, "--context", "other"];
    let text = place.fails(1, &[list.as_slice(), &context].concat());
    assert!(text.contains("other"), "{text}");
}

#[test]
fn the_help_lists_the_exit_codes() {
    let place = Place::new();
    for words in [["--help"].as_slice(), &["-h"]] {
        let help = place.ok(words);
        for line in [
            "Exit codes:",
            "  3    the key or the bucket is not there",
            "  130  interrupted",
        ] {
            assert!(help.contains(line), "{line}: {help}");
        }
    }
}

#[test]
fn no_value_is_told_however_much_is_asked_for() {
    let place = Place::new();
    for words in [["put", "k", "canary", "-vvv"].as_slice(), &["list", "-vvv"]] {
        let output = place.run(words);
        assert_eq!(code(&output), 0);
        assert!(!err(&output).contains("canary") && !out(&output).contains("canary"));
    }
}
