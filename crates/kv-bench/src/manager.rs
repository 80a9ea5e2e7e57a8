//! A controller manager, as control planes have one: its garbage collector is told of every change of
//! every object, and takes processor time for it.

use std::time::Duration;

use anyhow::ensure;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::environment::Environment;
use crate::server::sum_of;

/// It looks for what there is to watch first.
const WATCHES_WITHIN: Duration = Duration::from_secs(60);

/// Starts one that runs to the end, and waits until it is told of changes. `false`: there is none to start.
pub(crate) async fn start(env: &Environment) -> anyhow::Result<bool> {
    let Some((program, arguments)) = env.places.start_manager.split_first() else {
        return Ok(false);
    };
    let before = watches(env).await?;
    let output = Command::new(program).args(arguments).output().await?;
    ensure!(
        output.status.success(),
        "the controller manager did not start: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let begun = Instant::now();
    while watches(env).await? <= before {
        ensure!(
            begun.elapsed() < WATCHES_WITHIN,
            "the controller manager does not watch ConfigMaps"
        );
        sleep(Duration::from_millis(200)).await;
    }
    Ok(true)
}

/// How many watches of ConfigMaps the API server serves.
async fn watches(env: &Environment) -> anyhow::Result<f64> {
    let metrics = env.apiserver_metrics().await?;
    let labels = ["resource=\"configmaps\"", "verb=\"WATCH\""];
    Ok(sum_of(&metrics, "apiserver_longrunning_requests", &labels))
}
