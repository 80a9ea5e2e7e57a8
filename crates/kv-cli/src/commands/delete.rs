use kv_core::{OpenMode, Transaction};

use crate::args::{Delete, Global};
use crate::exit::Failure;
use crate::store::Store;

/// Removes a key, and fails where it is not there.
pub(super) async fn run(global: &Global, delete: Delete) -> Result<(), Failure> {
    let Delete { key, if_revision } = delete;
    let mut transaction = Transaction::new();
    if let Some(revision) = if_revision {
        transaction = transaction.require_at(&key, revision);
    }
    let store = Store::open(global, OpenMode::Open).await?;
    let commit = store
        .write(store.inner.commit(transaction.delete(&key)))
        .await?;
    match commit.previous.first().copied().flatten() {
        Some(_) => Ok(()),
        None => Err(Failure::NoSuchKey(key)),
    }
}
