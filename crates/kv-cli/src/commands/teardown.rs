use std::io::{self, IsTerminal, Write};

use kv_core::{Error, OpenMode};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::args::{Global, Teardown};
use crate::exit::Failure;
use crate::kubernetes;
use crate::output;
use crate::store::{Location, Store, location};

/// Removes the bucket, once somebody has typed its name or given `--yes`.
pub(super) async fn run(global: &Global, teardown: Teardown) -> Result<(), Failure> {
    let Teardown { yes } = teardown;
    let location = location(global)?;
    if !yes {
        confirm(&location).await?;
    }
    match (Store::open(global, OpenMode::Open).await, location) {
        (
            Err(Failure::Store(Error::Corrupt { .. } | Error::Unsupported { .. })),
            Location::Cluster {
                kind,
                namespace,
                bucket,
            },
        ) => kubernetes::teardown(kind, &namespace, &bucket, global).await,
        (store, _) => {
            let store = store?;
            store.write(store.inner.teardown()).await
        }
    }
}

async fn confirm(location: &Location) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "nobody is there to ask whether to remove {location} with everything in it: \
             give --yes if that is meant"
        )));
    }
    let bucket = location.bucket();
    let question = format!(
        "This removes {} and everything in it, for good.\nType the name of the bucket, {}, to go on: ",
        output::escape(&location.to_string()),
        output::escape(&bucket),
    );
    let mut err = io::stderr();
    err.write_all(question.as_bytes())
        .and_then(|()| err.flush())
        .map_err(|source| Failure::Output { source })?;
    if answer().await?.trim() == bucket {
        Ok(())
    } else {
        Err(Failure::Declined)
    }
}

async fn answer() -> Result<String, Failure> {
    let mut line = String::new();
    let mut input = BufReader::new(tokio::io::stdin());
    match input.read_line(&mut line).await {
        Ok(_) => Ok(line),
        Err(source) => Err(Failure::Input {
            from: "the terminal".to_owned(),
            source,
        }),
    }
}
