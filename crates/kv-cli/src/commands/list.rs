use kv_core::{ListOptions, OpenMode};

use crate::args::{Global, List, TextOrJson};
use crate::exit::Failure;
use crate::output::{self, JsonEntry};
use crate::store::Store;

/// Prints the keys that begin with a text, from one snapshot.
pub(super) async fn run(global: &Global, list: List) -> Result<(), Failure> {
    let List {
        prefix,
        output,
        values,
        limit,
    } = list;
    let options = ListOptions {
        limit,
        ..ListOptions::prefix(prefix)
    };
    let store = Store::open(global, OpenMode::Open).await?;
    let listing = store.read(store.inner.list_opts(options)).await?;
    let text = match output {
        TextOrJson::Text => output::table(&listing.entries, values),
        TextOrJson::Json => {
            let lines = listing.entries.iter();
            lines
                .map(|entry| output::json(&JsonEntry::new(entry, values)))
                .collect::<Result<String, _>>()?
        }
    };
    output::print(text.as_bytes())?;
    if listing.cursor.is_some() {
        output::note("there are more keys than --limit allows");
    }
    Ok(())
}
