use kv_core::Error;

use crate::args::{Check, Global, TextOrJson};
use crate::exit::Failure;
use crate::kubernetes;
use crate::output;
use crate::report;
use crate::store::{Location, location};

/// Prints what is damaged, and fails where something is.
pub(super) async fn run(global: &Global, check: Check) -> Result<(), Failure> {
    let Check { output, repair } = check;
    let location = location(global)?;
    let Location::Cluster {
        kind,
        namespace,
        bucket,
    } = &location
    else {
        return Err(Failure::Usage(format!(
            "{location} cannot be checked: give the --store of a bucket in a cluster"
        )));
    };
    let buckets = kubernetes::buckets(*kind, namespace, global).await?;
    let mut removed = Vec::new();
    if repair {
        match buckets.repair(bucket).await {
            Ok(orphans) => removed = orphans,
            // What is damaged is told below, and all of it.
            Err(Error::Corrupt { .. }) => output::note("something is damaged: nothing was removed"),
            Err(error) => return Err(error.into()),
        }
    }
    let found = buckets.check(bucket).await?;
    let text = match output {
        TextOrJson::Text => report::text(&found, &removed),
        TextOrJson::Json => report::json(&found, &removed)?,
    };
    output::print(text.as_bytes())?;
    match found.is_sound() {
        true => Ok(()),
        false => Err(Failure::Damaged {
            store: location.to_string(),
        }),
    }
}
