//! A controller manager, as control planes have one: its garbage collector is told of every change of
//! every object, and takes processor time for it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::environment::Environment;
use crate::server::sum_of;

/// It looks for what there is to watch first.
const WATCHES_WITHIN: Duration = Duration::from_secs(60);

/// One that runs until this is dropped.
pub(crate) struct Manager(#[expect(dead_code, reason = "ends with this")] Child);

impl Manager {
    /// Starts one and waits until it is told of changes. `None`: these servers come without.
    pub(crate) async fn start(env: &Environment) -> anyhow::Result<Option<Self>> {
        let Some((program, arguments)) = env.places.manager.split_first() else {
            return Ok(None);
        };
        let before = watches(env).await?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let begun = Instant::now();
        while watches(env).await? <= before {
            ensure!(
                child.try_wait()?.is_none() && begun.elapsed() < WATCHES_WITHIN,
                "the controller manager does not watch ConfigMaps"
            );
            sleep(Duration::from_millis(200)).await;
        }
        Ok(Some(Self(child)))
    }
}

/// How many watches of ConfigMaps the API server serves.
async fn watches(env: &Environment) -> anyhow::Result<f64> {
    let metrics = env.apiserver_metrics().await?;
    let labels = ["resource=\"configmaps\"", "verb=\"WATCH\""];
    Ok(sum_of(&metrics, "apiserver_longrunning_requests", &labels))
}
