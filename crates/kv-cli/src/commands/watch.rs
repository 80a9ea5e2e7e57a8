use futures::StreamExt;
use kv_core::{OpenMode, WatchOptions, WatchStart};

use crate::args::{Global, TextOrJson, Watch};
use crate::events;
use crate::exit::Failure;
use crate::output;
use crate::store::{Location, Store};

/// Prints what is there, then every change as it is made, until somebody has seen enough.
pub(super) async fn run(global: &Global, watch: Watch) -> Result<(), Failure> {
    let Watch {
        prefix,
        output,
        values,
        after,
        now,
    } = watch;
    let start = match after {
        Some(revision) => WatchStart::After(revision),
        None if now => WatchStart::Now,
        None => WatchStart::Snapshot,
    };
    let options = WatchOptions::prefix(prefix).with_start(start);
    let store = Store::open(global, OpenMode::Open).await?;
    if let Location::File(_) = store.location {
        output::note("nobody else can open the file while it is watched: only expiries will show");
    }
    tokio::select! {
        outcome = print(&store, options, output, values) => outcome,
        () = output::closed() => Ok(()),
    }
}

async fn print(
    store: &Store,
    options: WatchOptions,
    output: TextOrJson,
    values: bool,
) -> Result<(), Failure> {
    let mut events = store.read(store.inner.watch(options)).await?;
    while let Some(event) = events.next().await {
        let lines = events::show(&event.map_err(Failure::Store)?, output, values)?;
        output::print_slowly(lines).await?;
    }
    Err(store.closed())
}
