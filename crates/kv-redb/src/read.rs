use std::fmt;
use std::ops::Bound;
use std::time::SystemTime;

use kv_core::backend;
use kv_core::{Bytes, Cursor, Entry, Key, ListOptions, Listing, Revision};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageError};

use crate::tables::{self, ENTRIES, EXPIRIES, META, Meta};

/// The bucket as one commit left it.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    pub(crate) meta: Meta,
}

impl Snapshot {
    /// The newest commit.
    pub(crate) fn newest(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let meta = Meta::load(&transaction.open_table(META)?)?;
        Ok(Self { transaction, meta })
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision::new(self.meta.revision)
    }

    pub(crate) fn get(&self, key: &Key, now: SystemTime) -> Result<Option<Entry>, redb::Error> {
        let entries = self.transaction.open_table(ENTRIES)?;
        let entry = entries
            .get(key.as_str())?
            .map(|row| tables::entry(key.clone(), row.value()));
        Ok(entry.filter(|entry| !entry.is_expired(now)))
    }

    /// The page that `options` describes.
    pub(crate) fn page(
        &self,
        options: &ListOptions,
        now: SystemTime,
    ) -> Result<Listing, redb::Error> {
        let after = options.resume_after();
        let mut rest = self.live(&options.prefix, after, now)?;
        let limit = options.limit.unwrap_or(usize::MAX);
        let entries: Vec<Entry> = rest.by_ref().take(limit).collect::<Result<_, _>>()?;
        let cursor = match rest.next().transpose()? {
            None => None,
            Some(_) => {
                let last = entries.last().map(|entry| &entry.key).or(after);
                Some(Cursor::new(self.revision(), last.cloned()))
            }
        };
        Ok(Listing {
            entries,
            revision: self.revision(),
            cursor,
        })
    }

    /// The entries that expire, without their values.
    pub(crate) fn expiring(&self) -> Result<backend::Snapshot, redb::Error> {
        let mut expiring = backend::Snapshot::default();
        for row in self.transaction.open_table(EXPIRIES)?.iter()? {
            let (at, key) = tables::expiry(row?.0.value())?;
            expiring.load(Entry {
                key,
                value: Bytes::new(),
                revision: self.revision(),
                expires_at: Some(at),
            });
        }
        expiring.loaded_through(self.revision());
        Ok(expiring)
    }

    /// The entries whose keys begin with `prefix` at the time `now`, after the key `after`.
    fn live<'a>(
        &self,
        prefix: &'a str,
        after: Option<&'a Key>,
        now: SystemTime,
    ) -> Result<impl Iterator<Item = Result<Entry, StorageError>> + 'a, redb::Error> {
        let start = match after.map(Key::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self
            .transaction
            .open_table(ENTRIES)?
            .range::<&str>((start, Bound::Unbounded))?;
        let entries = rows.map(|row| {
            let (key, row) = row?;
            Ok(tables::entry(tables::key(key.value())?, row.value()))
        });
        let in_prefix = move |entry: &Result<Entry, StorageError>| {
            entry
                .as_ref()
                .map_or(true, |entry| entry.key.as_str().starts_with(prefix))
        };
        let is_live = move |entry: &Result<Entry, StorageError>| {
            entry.as_ref().map_or(true, |entry| !entry.is_expired(now))
        };
        Ok(entries.take_while(in_prefix).filter(is_live))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.revision())
    }
}
