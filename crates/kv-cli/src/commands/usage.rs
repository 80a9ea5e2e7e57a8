use kv_core::{OpenMode, Revision};
use serde::Serialize;

use crate::args::{Global, TextOrJson, Usage};
use crate::exit::Failure;
use crate::output;
use crate::store::Store;

#[derive(Serialize)]
struct Figures {
    entries: u64,
    bytes: u64,
    limit: Option<u64>,
    revision: Revision,
}

/// Prints how full the bucket is.
pub(super) async fn run(global: &Global, usage: Usage) -> Result<(), Failure> {
    let Usage { output } = usage;
    let store = Store::open(global, OpenMode::Open).await?;
    let kv_core::Usage {
        entries,
        bytes,
        limit,
        revision,
    } = store.read(store.inner.usage()).await?;
    let text = match output {
        TextOrJson::Text => {
            let limit = limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
            format!(
                "entries   {entries}\nbytes     {bytes}\nlimit     {limit}\nrevision  {revision}\n"
            )
        }
        TextOrJson::Json => output::json(&Figures {
            entries,
            bytes,
            limit,
            revision,
        })?,
    };
    output::print(text.as_bytes())
}
