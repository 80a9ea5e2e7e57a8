use std::path::Path;

use kv_core::{Limits, OpenMode, Transaction};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::args::{Global, Put};
use crate::exit::Failure;
use crate::output;
use crate::store::Store;

/// Stores a value and prints the revision of the entry.
pub(super) async fn run(global: &Global, put: Put) -> Result<(), Failure> {
    let Put {
        key,
        value,
        file,
        ttl,
        create,
        if_revision,
    } = put;
    // Before the store is opened: others may need it while the value is typed.
    let value = read(value, file.as_deref()).await?;
    let mut transaction = Transaction::new();
    if create {
        transaction = transaction.require_absent(&key);
    }
    if let Some(revision) = if_revision {
        transaction = transaction.require_at(&key, revision);
    }
    let transaction = match ttl {
        Some(ttl) => transaction.put_expiring(key, value, ttl),
        None => transaction.put(key, value),
    };
    // In a bucket that does not exist, no key has a revision.
    let mode = match if_revision {
        Some(_) => OpenMode::Open,
        None => OpenMode::OpenOrCreate,
    };
    let store = Store::open(global, mode).await?;
    let commit = store.write(store.inner.commit(transaction)).await?;
    let current = commit.current.first().copied().flatten();
    let revision = current.unwrap_or(commit.revision);
    output::print(format!("{revision}\n").as_bytes())
}

async fn read(value: Option<String>, file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    match (value, file) {
        (Some(value), _) if value == "-" => {
            let from = "standard input".to_owned();
            read_all(tokio::io::stdin(), from).await
        }
        (Some(value), _) => Ok(value.into_bytes()),
        (None, Some(path)) => {
            let from = format!("{path:?}");
            match tokio::fs::File::open(path).await {
                Ok(file) => read_all(file, from).await,
                Err(source) => Err(Failure::Input { from, source }),
            }
        }
        (None, None) => Err(Failure::Usage("there is no value".to_owned())),
    }
}

async fn read_all(input: impl AsyncRead + Unpin, from: String) -> Result<Vec<u8>, Failure> {
    let limit = Limits::CONTRACT.value_bytes;
    let mut value = Vec::new();
    // One byte more than fits, so that /dev/zero ends, too.
    let mut input = input.take(limit as u64 + 1);
    match input.read_to_end(&mut value).await {
        Err(source) => Err(Failure::Input { from, source }),
        Ok(_) if value.len() > limit => Err(Failure::ValueTooLarge { limit }),
        Ok(_) => Ok(value),
    }
}
