use kv_core::{KvStoreExt, OpenMode};

use crate::args::{Get, GetOutput, Global};
use crate::exit::Failure;
use crate::output::{self, JsonEntry};
use crate::store::Store;

/// Prints the value of a key, with no byte added.
pub(super) async fn run(global: &Global, get: Get) -> Result<(), Failure> {
    let Get { key, output } = get;
    let store = Store::open(global, OpenMode::Open).await?;
    let entry = store.read(store.inner.get(&key)).await?;
    let entry = entry.ok_or(Failure::NoSuchKey(key))?;
    match output {
        GetOutput::Raw => output::print(&entry.value),
        GetOutput::Json => {
            let line = output::json(&JsonEntry::new(&entry, true))?;
            output::print(line.as_bytes())
        }
    }
}
