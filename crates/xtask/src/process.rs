//! Child processes in groups of their own, so that an interrupted command takes all of them along.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};

static STARTED: Mutex<Started> = Mutex::new(Started {
    groups: Vec::new(),
    guards: Vec::new(),
});

struct Started {
    groups: Vec<Pid>,
    guards: Vec<Child>,
}

fn started() -> MutexGuard<'static, Started> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-C, SIGTERM and SIGHUP end this program's children before the program itself.
pub(crate) fn end_children_when_interrupted() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        // Held until the exit, so that nothing new is started in between.
        let mut started = started();
        for group in &started.groups {
            // An error means that the group has ended by itself.
            let _ = kill_process_group(*group, Signal::TERM);
        }
        for guard in started.guards.drain(..) {
            dismiss(guard);
        }
        std::process::exit(130);
    })
    .context("the handler of Ctrl-C could not be installed")
}

/// A running command with everything that it started.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    id: Pid,
}

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut started = started();
        let child = command.process_group(0).spawn().with_context(|| {
            format!(
                "{} could not be started",
                command.get_program().to_string_lossy()
            )
        })?;
        let id = Pid::from_child(&child);
        started.groups.push(id);
        Ok(Self { child, id })
    }

    pub(crate) fn wait(mut self) -> anyhow::Result<ExitStatus> {
        self.child
            .wait()
            .context("the end of a child process could not be awaited")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.id, Signal::TERM);
            let _ = self.child.wait();
        }
        started().groups.retain(|id| *id != self.id);
    }
}

/// Runs a command to its end and hands each line of its standard output on, after printing it.
pub(crate) fn run_teed(
    command: &mut Command,
    mut each_line: impl FnMut(&str),
) -> anyhow::Result<ExitStatus> {
    let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let stdout = group
        .child
        .stdout
        .take()
        .context("the output was not piped")?;
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .context("the output could not be read")?
        > 0
    {
        std::io::stdout()
            .write_all(&line)
            .context("standard output is closed")?;
        each_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    group.wait()
}

/// Keeps a child that watches its standard input, until [`dismiss_guard`] or an interruption.
pub(crate) fn spawn_guard(
    command: &mut Command,
) -> anyhow::Result<(u32, std::process::ChildStdout)> {
    let mut started = started();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the guard of the API server could not be started")?;
    let stdout = child.stdout.take().context("the output was not piped")?;
    let id = child.id();
    started.guards.push(child);
    Ok((id, stdout))
}

/// Ends a child of [`spawn_guard`] and waits for it.
pub(crate) fn dismiss_guard(id: u32) {
    let mut started = started();
    if let Some(index) = started.guards.iter().position(|guard| guard.id() == id) {
        dismiss(started.guards.remove(index));
    }
}

fn dismiss(mut guard: Child) {
    drop(guard.stdin.take());
    let _ = guard.wait();
}

/// Waits a moment between two looks at something that takes its time.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here that it could block"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
