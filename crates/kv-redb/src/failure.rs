use std::io;
use std::sync::Arc;

use kv_core::{Error, Source};
use tokio::task::JoinError;

/// What a failure of redb means, where nothing was being committed.
pub(crate) fn not_applied(store: &str, error: impl Into<redb::Error>) -> Error {
    let store = store.to_owned();
    match error.into() {
        redb::Error::Corrupted(reason) => Error::Corrupt {
            object: store,
            reason,
        },
        // Left behind by a panic of redb, which nothing but damage makes it do.
        redb::Error::LockPoisoned(_) => Error::Corrupt {
            object: store,
            reason: "an earlier call broke down on it".to_owned(),
        },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => Error::Closed { store },
        error => Error::Unavailable {
            store,
            reason: "the file could not be read or prepared for a write".to_owned(),
            source: source(error),
        },
    }
}

/// What a failure of redb in the middle of a commit means.
pub(crate) fn indeterminate(store: &str, error: impl Into<redb::Error>) -> Error {
    Error::Indeterminate {
        store: store.to_owned(),
        reason: "the disk failed while the transaction was written".to_owned(),
        source: source(error.into()),
    }
}

/// What a failure of redb to open a file means.
pub(crate) fn opening(store: &str, error: redb::DatabaseError) -> Error {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            Error::Unavailable {
                store: store.to_owned(),
                reason: "another process holds the file; wait until it has closed it, or stop it"
                    .to_owned(),
                source: None,
            }
        }
        redb::Error::UpgradeRequired(version) => Error::Unsupported {
            store: store.to_owned(),
            what: format!("version {version} of the file format of redb; upgrade it with redb 2.6"),
        },
        redb::Error::Io(error) => io(store, error),
        error => not_applied(store, error),
    }
}

/// What a failure of the file system means.
pub(crate) fn io(store: &str, error: io::Error) -> Error {
    let store = store.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound {
            what: format!("the directory of {store}"),
        },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::Forbidden {
            store,
            reason: error.to_string(),
        },
        io::ErrorKind::InvalidData => foreign(store, "it is no redb database"),
        io::ErrorKind::UnexpectedEof => Error::Corrupt {
            object: store,
            reason: "it ends too early".to_owned(),
        },
        _ => Error::Unavailable {
            store,
            reason: "the file could not be opened".to_owned(),
            source: Some(Arc::new(error)),
        },
    }
}

/// The refusal of a file that this crate did not make.
pub(crate) fn foreign(object: impl Into<String>, reason: &str) -> Error {
    Error::Foreign {
        object: object.into(),
        reason: reason.to_owned(),
    }
}

/// What it means that a task on a blocking thread did not end.
pub(crate) fn task(store: &str, error: &JoinError) -> Error {
    let store = store.to_owned();
    if error.is_panic() {
        // redb checks pages when it opens a file and trusts them from then on. The text of its
        // panic is left out, as it may quote the page.
        Error::Corrupt {
            object: store,
            reason: "redb broke down on it".to_owned(),
        }
    } else {
        Error::Closed { store }
    }
}

fn source(error: redb::Error) -> Option<Source> {
    Some(Arc::new(error))
}
