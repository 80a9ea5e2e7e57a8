use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kv_core::{Entry, Key, Revision};
use redb::{ReadableTable, StorageError, Table, TableDefinition};

/// The version of the layout below. A file of a newer one is refused.
pub(crate) const FORMAT: u64 = 1;

/// The revision of an entry, when it expires in milliseconds since 1970, and its value.
pub(crate) type Row<'a> = (u64, Option<u64>, &'a [u8]);

/// The entries by key.
pub(crate) const ENTRIES: TableDefinition<'static, &'static str, Row<'static>> =
    TableDefinition::new("kv.entries");

/// The keys that expire, by the time when they do.
pub(crate) const EXPIRIES: TableDefinition<'static, (u64, &'static str), ()> =
    TableDefinition::new("kv.expiries");

/// The fields of [`Meta`] by name. It also shows whose file it is.
pub(crate) const META: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("kv.meta");

/// The field of [`META`] that holds the [`FORMAT`] of the file.
pub(crate) const FORMAT_FIELD: &str = "format";

/// What is true of the bucket as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Whether there is a bucket: a file outlives the teardown of its bucket.
    pub(crate) exists: bool,
    /// The highest revision given out, which a teardown does not take back.
    pub(crate) last: u64,
    /// The last commit to the bucket that is there now.
    pub(crate) revision: u64,
    /// The number of entries, expired ones included.
    pub(crate) entries: u64,
    /// The bytes of all keys and values.
    pub(crate) bytes: u64,
}

impl Meta {
    pub(crate) fn load(
        table: &impl ReadableTable<&'static str, u64>,
    ) -> Result<Self, StorageError> {
        let field = |name: &str| match table.get(name)? {
            Some(value) => Ok(value.value()),
            None => Err(StorageError::Corrupted(format!(
                "the field {name:?} is missing"
            ))),
        };
        Ok(Self {
            exists: field("exists")? != 0,
            last: field("last")?,
            revision: field("revision")?,
            entries: field("entries")?,
            bytes: field("bytes")?,
        })
    }

    pub(crate) fn save(
        &self,
        table: &mut Table<'_, &'static str, u64>,
    ) -> Result<(), StorageError> {
        let Self {
            exists,
            last,
            revision,
            entries,
            bytes,
        } = *self;
        table.insert("exists", u64::from(exists))?;
        table.insert("last", last)?;
        table.insert("revision", revision)?;
        table.insert("entries", entries)?;
        table.insert("bytes", bytes)?;
        Ok(())
    }
}

/// An entry from its row.
pub(crate) fn entry(key: Key, (revision, expires, value): Row<'_>) -> Entry {
    Entry {
        key,
        value: Bytes::copy_from_slice(value),
        revision: Revision::new(revision),
        expires_at: expires.map(time),
    }
}

/// A key as a table holds it.
pub(crate) fn key(text: &str) -> Result<Key, StorageError> {
    let corrupted = |error| StorageError::Corrupted(format!("an entry has no valid key: {error}"));
    Key::new(text).map_err(corrupted)
}

/// When an entry expires, and its key.
pub(crate) fn expiry((millis, text): (u64, &str)) -> Result<(SystemTime, Key), StorageError> {
    Ok((time(millis), key(text)?))
}

fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// What an entry counts in [`Meta::bytes`].
pub(crate) fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// Whole milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
