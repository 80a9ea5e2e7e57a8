//! One server process of a cluster, known by a locked file.
//!
//! The server holds the lock on its file `NAME.pid` as its standard input, so the lock lasts exactly as
//! long as the process. A process id alone could be stale and, by now, somebody else's.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::pause;

pub(crate) const ETCD: &str = "etcd";
pub(crate) const APISERVER: &str = "kube-apiserver";
pub(crate) const MANAGER: &str = "kube-controller-manager";

/// For a process to be started or gone; both take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of the cluster, running or not.
#[derive(Debug)]
pub(crate) struct Part {
    name: &'static str,
    pid_file: PathBuf,
    log_file: PathBuf,
}

impl Part {
    pub(crate) fn new(folder: &Path, name: &'static str) -> Self {
        let pid_file = folder.join(format!("{name}.pid"));
        let log_file = folder.join(format!("{name}.log"));
        Self {
            name,
            pid_file,
            log_file,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The id of the process, if it runs.
    pub(crate) fn running(&self) -> anyhow::Result<Option<u32>> {
        let mut file = match File::open(&self.pid_file) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(error.into())),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .map_err(|error| self.unreadable(error.into()))?;
                let pid = text
                    .trim()
                    .parse()
                    .map_err(|_| self.unreadable(anyhow!("{text:?}")))?;
                Ok(Some(pid))
            }
            Err(TryLockError::Error(error)) => Err(self.unreadable(error.into())),
        }
    }

    /// Starts the process unless it runs. It outlives this program and its terminal.
    pub(crate) fn start(
        &self,
        exe: &Path,
        server: &[String],
        arguments: &[String],
    ) -> anyhow::Result<()> {
        if self.running()?.is_some() {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log_file)?;
        let mut child = Command::new(exe)
            .args(["cluster", "exec"])
            .arg(&self.pid_file)
            .arg("--")
            .args(server)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} could not be started", self.name))?;

        let start = Instant::now();
        while self.written_pid() != Some(child.id()) {
            if child.try_wait()?.is_some() || start.elapsed() > PATIENCE {
                bail!(
                    "{} did not start; its log ends so:\n{}",
                    self.name,
                    self.end_of_log()
                );
            }
            pause(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends the process at once: its data goes with it, there is nothing to close in good order.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        let Some(pid) = self.running()? else {
            return Ok(());
        };
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        kill_process(pid, Signal::KILL)
            .with_context(|| format!("{} ({pid}) could not be ended", self.name))?;
        let start = Instant::now();
        while self.running()?.is_some() {
            if start.elapsed() > PATIENCE {
                bail!("{} ({pid}) does not end; look at it with `ps`", self.name);
            }
            pause(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn end_of_log(&self) -> String {
        let log = fs::read(&self.log_file).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn written_pid(&self) -> Option<u32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }

    fn unreadable(&self, cause: anyhow::Error) -> anyhow::Error {
        cause.context(format!("{} can't be read", self.pid_file.display()))
    }
}

/// Becomes a server: takes the lock of its file, writes the process id there, and executes.
///
/// That it is done by the process itself, before it is the server, leaves no moment in which a server
/// runs that no file tells of.
pub(crate) fn exec(pid_file: &Path, command: &[String]) -> anyhow::Error {
    let locked = match lock_pid_file(pid_file) {
        Ok(file) => file,
        Err(error) => return error,
    };
    if let Err(error) = rustix::process::setsid() {
        return anyhow!(error).context("no session of its own");
    }
    let Some((program, arguments)) = command.split_first() else {
        return anyhow!("no program to execute");
    };
    let error = Command::new(program).args(arguments).stdin(locked).exec();
    anyhow!(error).context(format!("{program} could not be executed"))
}

fn lock_pid_file(path: &Path) -> anyhow::Result<File> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    let start = Instant::now();
    // A look at the status holds a shared lock for a moment.
    while let Err(error) = file.try_lock() {
        if start.elapsed() > Duration::from_secs(1) {
            return Err(error).with_context(|| format!("{} is taken", path.display()));
        }
        pause(Duration::from_millis(10));
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    file.rewind()?;
    Ok(file)
}
