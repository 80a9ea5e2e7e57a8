use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use kv_core::backend::{Effect, Record, Stored, evaluate};
use kv_core::{Commit, Condition, Entry, Error, Key, Operation, Result, Revision, Transaction};
use redb::{ReadableTable, StorageError, Table, WriteTransaction};

use crate::tables::{self, ENTRIES, EXPIRIES, META, Meta, Row};

/// How many expired entries one commit reclaims.
const RECLAIMED_AT_ONCE: usize = 1_024;

/// A transaction with what the handle it came from knows.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) transaction: Transaction,
    pub(crate) now: SystemTime,
    pub(crate) bucket_bytes: Option<u64>,
}

/// The tables of a bucket within one write transaction of redb.
pub(crate) struct Writer<'a> {
    store: &'a str,
    entries: Table<'a, &'static str, Row<'static>>,
    expiries: Table<'a, (u64, &'static str), ()>,
    stored: Table<'a, &'static str, u64>,
    before: Meta,
    pub(crate) meta: Meta,
    /// The commits, as watchers are told of them once they are on the disk.
    pub(crate) records: Vec<Record>,
}

impl<'a> Writer<'a> {
    /// Opens the tables. `store` is the name for error messages.
    pub(crate) fn open(
        store: &'a str,
        transaction: &'a WriteTransaction,
    ) -> Result<Self, redb::Error> {
        let stored = transaction.open_table(META)?;
        let meta = Meta::load(&stored)?;
        Ok(Self {
            store,
            entries: transaction.open_table(ENTRIES)?,
            expiries: transaction.open_table(EXPIRIES)?,
            stored,
            before: meta,
            meta,
            records: Vec::new(),
        })
    }

    /// Writes [`Writer::meta`], and tells whether anything has changed at all.
    pub(crate) fn finish(mut self) -> Result<bool, redb::Error> {
        let changed = self.meta != self.before;
        if changed {
            self.meta.save(&mut self.stored)?;
        }
        Ok(changed)
    }

    /// Applies one transaction, or refuses it and writes nothing. The outer error is a failure of
    /// the file, which fails everything that is written together.
    pub(crate) fn apply(&mut self, request: &Request) -> Result<Result<Commit>, redb::Error> {
        let Request {
            transaction,
            now,
            bucket_bytes,
        } = request;
        let found = self.find(transaction)?;
        let lookup = |key: &Key| Ok(found.get(key).cloned());
        let evaluation = match evaluate(transaction, *now, lookup) {
            Ok(evaluation) => evaluation,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if evaluation.effects.is_empty() {
            let revision = Revision::new(self.meta.revision);
            return Ok(Ok(evaluation.into_commit(revision)));
        }
        let expired = self.expired(*now)?;
        if let Some(limit) = *bucket_bytes {
            let after = self.bytes_after(&expired, &evaluation.effects)?;
            if let Err(full) = self.check_room(after, limit) {
                return Ok(Err(full));
            }
        }
        self.meta.last += 1;
        self.meta.revision = self.meta.last;
        self.meta.exists = true;
        for (_, key) in &expired {
            self.remove(key)?;
        }
        for Effect { key, stored } in &evaluation.effects {
            self.remove(key)?;
            if let Some(stored) = stored {
                self.insert(key, stored)?;
            }
        }
        let revision = Revision::new(self.meta.revision);
        let effects = evaluation.effects.iter();
        self.records.push(Record {
            revision,
            changes: effects.map(|effect| effect.to_change(revision)).collect(),
            reclaimed: expired,
        });
        Ok(Ok(evaluation.into_commit(revision)))
    }

    /// The entries that the transaction is about.
    fn find(&self, transaction: &Transaction) -> Result<BTreeMap<Key, Entry>, StorageError> {
        let conditions = transaction.conditions().iter().map(Condition::key);
        let operations = transaction.operations().iter().map(Operation::key);
        let keys: BTreeSet<&Key> = conditions.chain(operations).collect();
        let mut found = BTreeMap::new();
        for key in keys {
            if let Some(row) = self.entries.get(key.as_str())? {
                found.insert(key.clone(), tables::entry(key.clone(), row.value()));
            }
        }
        Ok(found)
    }

    /// The keys to reclaim, those first that expired first.
    fn expired(&self, now: SystemTime) -> Result<Vec<(SystemTime, Key)>, StorageError> {
        let end = (tables::millis(now).saturating_add(1), "");
        let expired = self.expiries.range(..end)?.take(RECLAIMED_AT_ONCE);
        expired.map(|row| tables::expiry(row?.0.value())).collect()
    }

    /// What the bucket would hold.
    fn bytes_after(
        &self,
        expired: &[(SystemTime, Key)],
        effects: &[Effect],
    ) -> Result<u64, StorageError> {
        let expired = expired.iter().map(|(_, key)| key);
        let changed = effects.iter().map(|effect| &effect.key);
        let gone: BTreeSet<&str> = expired.chain(changed).map(Key::as_str).collect();
        let mut bytes = self.meta.bytes;
        for key in gone {
            if let Some(row) = self.entries.get(key)? {
                bytes = bytes.saturating_sub(tables::size(key, row.value().2));
            }
        }
        let put = effects.iter().filter_map(|Effect { key, stored }| {
            let stored = stored.as_ref()?;
            Some(tables::size(key.as_str(), &stored.value))
        });
        Ok(bytes + put.sum::<u64>())
    }

    /// What makes a bucket smaller is welcome even in one that is over its limit.
    fn check_room(&self, after: u64, limit: u64) -> Result<()> {
        let before = self.meta.bytes;
        if after <= limit || after <= before {
            return Ok(());
        }
        Err(Error::BucketFull {
            store: self.store.to_owned(),
            needed: after - before,
            available: limit.saturating_sub(before),
        })
    }

    fn insert(&mut self, key: &Key, stored: &Stored) -> Result<(), StorageError> {
        let key = key.as_str();
        let expires = stored.expires_at.map(tables::millis);
        let row = (self.meta.revision, expires, &stored.value[..]);
        self.entries.insert(key, row)?;
        if let Some(at) = expires {
            self.expiries.insert((at, key), ())?;
        }
        self.meta.entries += 1;
        self.meta.bytes += tables::size(key, &stored.value);
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<(), StorageError> {
        let key = key.as_str();
        let Some(row) = self.entries.remove(key)? else {
            return Ok(());
        };
        let (_, expires, value) = row.value();
        self.meta.entries = self.meta.entries.saturating_sub(1);
        self.meta.bytes = self.meta.bytes.saturating_sub(tables::size(key, value));
        if let Some(at) = expires {
            self.expiries.remove((at, key))?;
        }
        Ok(())
    }
}
