use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use kv_core::{Error, OpenMode, Result};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, TableError, TableHandle};

use crate::create::create;
use crate::failure;
use crate::held_back::HeldBack;
use crate::tables::{ENTRIES, EXPIRIES, FORMAT, FORMAT_FIELD, META};

/// The memory that redb may use to keep pages of one file.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What error messages call the file.
pub(crate) fn name(path: &Path) -> String {
    format!("redb file {path:?}")
}

/// The one path of a file that has many, also of one that does not exist yet.
pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.file_name()) {
        (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            let directory = match path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            Ok(fs::canonicalize(directory)?.join(name))
        }
        (canonical, _) => canonical,
    }
}

/// The settings of redb that every file is opened with.
pub(crate) fn settings() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        // Without it redb trusts the pages, and returns damaged values or panics.
        .set_check_integrity_on_open(true);
    builder
}

/// Opens the file of that canonical path, or creates it, as `mode` says.
pub(crate) fn database(path: &Path, name: &str, mode: OpenMode) -> Result<Database> {
    if let Some(database) = existing(path, name)? {
        return Ok(database);
    }
    if mode == OpenMode::Open {
        let what = name.to_owned();
        return Err(Error::NotFound { what });
    }
    if let Some(database) = create(path, name)? {
        return Ok(database);
    }
    existing(path, name)?.ok_or_else(|| Error::Unavailable {
        store: name.to_owned(),
        reason: "another process makes and removes the file".to_owned(),
        source: None,
    })
}

/// Opens a file that is there; `None`: it is not.
fn existing(path: &Path, name: &str) -> Result<Option<Database>> {
    let io = |error| failure::io(name, error);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        // To open a pipe would wait for its other end.
        Ok(metadata) if !metadata.is_file() => {
            return Err(failure::foreign(name, "it is no regular file"));
        }
        Ok(metadata) if metadata.len() == 0 => {
            return Err(failure::foreign(name, "it is empty, and a store never is"));
        }
        Ok(_) => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(io)?;
    let opening = |error| failure::opening(name, error);
    let backend = HeldBack::new(file).map_err(opening)?;
    let database = settings()
        .create_with_backend(backend.clone())
        .map_err(opening)?;
    check_ours(&database, name)?;
    backend.release().map_err(io)?;
    Ok(Some(database))
}

/// Checks that this crate made the database, and that it knows its format.
fn check_ours(database: &Database, name: &str) -> Result<()> {
    let transaction = database
        .begin_read()
        .map_err(|error| failure::not_applied(name, error))?;
    let format = format(&transaction).map_err(|error| failure::not_applied(name, error))?;
    match format {
        None => Err(failure::foreign(
            name,
            "it is a redb database with other tables",
        )),
        Some(FORMAT) => Ok(()),
        Some(newer) => Err(Error::Unsupported {
            store: format!("kv-redb {}", env!("CARGO_PKG_VERSION")),
            what: format!("format {newer} of {name}; open it with a newer version"),
        }),
    }
}

/// The format of the database; `None`: it is not ours.
fn format(transaction: &ReadTransaction) -> Result<Option<u64>, redb::Error> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let format = meta.get(FORMAT_FIELD)?.map(|format| format.value());
    if format == Some(FORMAT) {
        let ours = [ENTRIES.name(), EXPIRIES.name(), META.name()];
        let mut tables = transaction.list_tables()?;
        if !tables.all(|table| ours.contains(&table.name())) {
            return Ok(None);
        }
    }
    Ok(format)
}
