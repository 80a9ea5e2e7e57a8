//! Workers that have been started, and what they were asked for.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::drive::Samples;
use crate::environment::Environment;
use crate::worker::CountedUp;

/// A worker that has been started.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(env: &Environment, bucket: &str, task: &[String]) -> anyhow::Result<Self> {
        Self::spawn(command(env, bucket, task)?)
    }

    /// One whose memory is looked at: its allocator gives back soon what it has no use for, not after the
    /// ten seconds that are jemalloc's default.
    ///
    /// <https://jemalloc.net/jemalloc.3.html#opt.dirty_decay_ms>
    pub(crate) fn start_lean(
        env: &Environment,
        bucket: &str,
        task: &[String],
    ) -> anyhow::Result<Self> {
        let mut command = command(env, bucket, task)?;
        let options = "background_thread:true,dirty_decay_ms:100";
        command.env("_RJEM_MALLOC_CONF", options);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("the output is piped")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        self.lines
            .next_line()
            .await?
            .context("the worker has ended")?;
        Ok(())
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("the input is piped")?;
        Ok(stdin.write_all(b"begin\n").await?)
    }

    pub(crate) async fn found<T: for<'a> Deserialize<'a>>(mut self) -> anyhow::Result<T> {
        let line = self
            .lines
            .next_line()
            .await?
            .context("the worker has failed")?;
        self.child.wait().await?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn command(env: &Environment, bucket: &str, task: &[String]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("worker")
        .arg("--kubeconfig")
        .arg(&env.places.kubeconfig)
        .args(["--namespace", &env.namespace, "--bucket", bucket])
        .args(task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Has processes begin with a task of each at the same time, once all are ready for it.
async fn at_once<T: for<'a> Deserialize<'a>>(
    env: &Environment,
    bucket: &str,
    tasks: impl Iterator<Item = Vec<String>>,
) -> anyhow::Result<Vec<T>> {
    let running = tasks.map(|task| Running::start(env, bucket, &task));
    let mut running = running.collect::<anyhow::Result<Vec<_>>>()?;
    for worker in &mut running {
        worker.ready().await?;
    }
    for worker in &mut running {
        worker.begin().await?;
    }
    try_join_all(running.into_iter().map(Running::found)).await
}

/// How many puts a second so many processes get that have one of them write for all.
pub(crate) async fn put_combined(
    env: &Environment,
    bucket: &str,
    processes: usize,
    turn: Duration,
) -> anyhow::Result<f64> {
    let task = |number| {
        let turn = format!("--millis={}", turn.as_millis());
        vec![
            "put-combined".to_owned(),
            format!("--number={number}"),
            turn,
        ]
    };
    let found: Vec<Samples> = at_once(env, bucket, (0..processes).map(task)).await?;
    Ok(found.iter().map(Samples::rate).sum())
}

/// Has so many processes, of so many tasks each, put into a bucket at the same time.
pub(crate) async fn put_processes(
    env: &Environment,
    bucket: &str,
    processes: usize,
    tasks: usize,
    turn: Duration,
    is_used_up: bool,
) -> anyhow::Result<Vec<CountedUp>> {
    let task = |number| {
        let mut task = vec!["put".to_owned(), format!("--number={number}")];
        task.push(format!("--tasks={tasks}"));
        task.push(format!("--millis={}", turn.as_millis()));
        task.extend(is_used_up.then(|| "--is-used-up".to_owned()));
        task
    };
    at_once(env, bucket, (0..processes).map(task)).await
}
