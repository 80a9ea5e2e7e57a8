//! One who watches the bucket from beginning to end, by the same bad way.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kv_configmap::ConfigMapStore;
use kv_conformance::watching;
use kv_core::{Change, Entry, Revision, WatchEvent, WatchOptions, WatchStore};
use kv_tests::chaos::{REGISTERS, SET, accounts};
use tokio::task::JoinSet;

/// For the last event, once all is calm.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a watch has told, and the watch.
pub(crate) struct Observer {
    told: Arc<Mutex<Vec<WatchEvent>>>,
    /// One task, which ends when this is dropped.
    watching: JoinSet<String>,
}

impl Observer {
    /// Watches what this handle tells.
    pub(crate) async fn start(store: ConfigMapStore) -> Self {
        let stream = store.watch(WatchOptions::default()).await;
        let mut stream = stream.expect("a watch begins while all is calm");
        let told = Arc::<Mutex<Vec<WatchEvent>>>::default();
        let tell = told.clone();
        let mut watching = JoinSet::new();
        watching.spawn(async move {
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => tell.lock().expect("no panic").push(event),
                    Err(error) => return error.to_string(),
                }
            }
            drop(store);
            "it ended".to_owned()
        });
        Self { told, watching }
    }

    /// Checks what was told up to that revision, at which these entries were there. Returns how
    /// many commits were told.
    pub(crate) async fn check(self, last: Revision, entries: &[Entry]) -> Result<usize, String> {
        let events = self.until(last).await?;
        let checked = watching::ordered(&events)
            .and_then(|()| watching::unique(&events))
            .and_then(|()| accounts().check_events(&events));
        checked.map_err(|violation| format!("a watch: {violation}"))?;
        written_once(&events)?;
        if watching::replay(&events) != entries {
            return Err("what a watch told does not add up to what is there".to_owned());
        }
        Ok(watching::commits(&events).count())
    }

    async fn until(mut self, last: Revision) -> Result<Vec<WatchEvent>, String> {
        let is_told = |events: &Vec<WatchEvent>| {
            let position = watching::position(events);
            position.is_some_and(|position| position >= last)
        };
        let wait = async {
            while !is_told(&self.told.lock().expect("no panic")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, wait).await;
        if let Some(why) = self.watching.try_join_next() {
            let why = why.map_err(|panic| panic.to_string())?;
            return Err(format!("a watch has failed: {why}"));
        }
        let events = std::mem::take(&mut *self.told.lock().expect("no panic"));
        let position = watching::position(&events);
        let late = || format!("a watch is at {position:?}, long after {last}");
        reached.map_err(|_| late())?;
        Ok(events)
    }
}

/// Every value of the registers and of the set is written by one transaction: who sees the same
/// twice sees a transaction that was applied twice.
fn written_once(events: &[WatchEvent]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let changes = watching::commits(events).flat_map(|(_, changes)| changes);
    for change in changes {
        if let Change::Put(Entry { key, value, .. }) = change
            && (key.as_str().starts_with(REGISTERS) || key.as_str().starts_with(SET))
            && !seen.insert((key, value))
        {
            return Err(format!("{value:?} was written twice to {key:?}"));
        }
    }
    Ok(())
}
