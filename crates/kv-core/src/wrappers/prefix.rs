use async_trait::async_trait;
use futures::stream::StreamExt;

use crate::{
    Bound, Change, Commit, Condition, Cursor, Entry, Error, GetOptions, Key, KvStore, Limits,
    ListOptions, Listing, Operation, Result, Transaction, Usage, WatchEvent, WatchOptions,
    WatchStore, WatchStream,
};

/// A part of another store: all keys that begin with a prefix, seen without it.
///
/// Several parts share the bucket: its revisions, its room and its limits, of which the prefix
/// takes its share of the key. A transaction stays inside its part.
///
/// [`teardown`](KvStore::teardown) removes the entries that it finds in this part and leaves the
/// bucket. Above one transaction's number of operations it takes several, so that a reader can
/// see a part of the entries gone. [`usage`](KvStore::usage) is unsupported: the bucket's figures are not the
/// part's.
///
/// # Example
///
/// ```
/// use kv_core::{PrefixStore, prelude::*};
/// use kv_memory::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let store = MemoryStore::new();
/// let votes = PrefixStore::new(&store, "votes/")?;
/// votes.put("anna", "yes").await?;
/// assert!(store.get("votes/anna").await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PrefixStore<T> {
    inner: T,
    prefix: Prefix,
}

impl<T> PrefixStore<T> {
    /// The part of `inner` under `prefix`, as it stands: no separator is added.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] and [`Error::TooLarge`] for a prefix that leaves no room for a key.
    pub fn new<P>(inner: T, prefix: P) -> Result<Self>
    where
        P: TryInto<Key, Error: Into<Error>>,
    {
        let prefix = prefix.try_into().map_err(Into::into)?;
        if prefix.as_str().len() == Key::MAX_BYTES {
            return Err(Error::InvalidKey {
                reason: "the prefix leaves no room for a key",
            });
        }
        Ok(Self {
            inner,
            prefix: Prefix(prefix),
        })
    }

    /// The whole store.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.inner
    }
}

/// Moves keys into the part and out of it.
#[derive(Clone, Debug)]
struct Prefix(Key);

impl Prefix {
    fn add(&self, key: &Key) -> Result<Key> {
        let prefix = self.0.as_str();
        Key::new(format!("{prefix}{key}")).map_err(|_| Error::TooLarge {
            what: Bound::Key,
            key: Some(key.clone()),
            actual: key.as_str().len() as u64,
            limit: (Key::MAX_BYTES - prefix.len()) as u64,
        })
    }

    /// `None` for the key that is the prefix itself: outside, it is not in this part.
    fn strip(&self, key: &Key) -> Option<Key> {
        let rest = key.as_str().strip_prefix(self.0.as_str())?;
        Key::new(rest).ok()
    }

    fn strip_entry(&self, entry: Entry) -> Option<Entry> {
        Some(Entry {
            key: self.strip(&entry.key)?,
            ..entry
        })
    }

    fn strip_entries(&self, entries: Vec<Entry>) -> Vec<Entry> {
        entries
            .into_iter()
            .filter_map(|entry| self.strip_entry(entry))
            .collect()
    }

    fn strip_error(&self, error: Error) -> Error {
        let strip = |key: Key| self.strip(&key).unwrap_or(key);
        match error {
            Error::AlreadyExists { key, actual } => Error::AlreadyExists {
                key: strip(key),
                actual,
            },
            Error::Conflict {
                key,
                expected,
                actual,
            } => Error::Conflict {
                key: strip(key),
                expected,
                actual,
            },
            Error::TooLarge {
                what,
                key,
                actual,
                limit,
            } => Error::TooLarge {
                what,
                key: key.map(strip),
                actual,
                limit,
            },
            Error::ZeroTtl { key } => Error::ZeroTtl { key: strip(key) },
            other => other,
        }
    }

    fn transaction(&self, transaction: Transaction) -> Result<Transaction> {
        let (conditions, operations) = transaction.into_parts();
        let mut moved = Transaction::new();
        for condition in conditions {
            moved = moved.with_condition(match condition {
                Condition::Absent(key) => Condition::Absent(self.add(&key)?),
                Condition::At(key, revision) => Condition::At(self.add(&key)?, revision),
                Condition::Exists(key) => Condition::Exists(self.add(&key)?),
            });
        }
        for operation in operations {
            moved = moved.with_operation(match operation {
                Operation::Put { key, value, ttl } => Operation::Put {
                    key: self.add(&key)?,
                    value,
                    ttl,
                },
                Operation::Delete { key } => Operation::Delete {
                    key: self.add(&key)?,
                },
            });
        }
        Ok(moved)
    }

    fn list_options(&self, options: ListOptions) -> Result<ListOptions> {
        let ListOptions {
            prefix,
            start_after,
            limit,
            cursor,
            consistency,
        } = options;
        // The key that is the prefix itself comes first and is not in this part.
        let start_after = match start_after {
            Some(key) => self.add(&key)?,
            None => self.0.clone(),
        };
        let cursor = match cursor {
            Some(cursor) => {
                let after = cursor.after().map(|key| self.add(key)).transpose()?;
                Some(Cursor::new(cursor.snapshot(), after))
            }
            None => None,
        };
        let prefix = format!("{}{prefix}", self.0);
        Ok(ListOptions {
            prefix,
            start_after: Some(start_after),
            limit,
            cursor,
            consistency,
        })
    }

    fn listing(&self, listing: Listing) -> Listing {
        let Listing {
            entries,
            revision,
            cursor,
        } = listing;
        let cursor = cursor.map(|cursor| {
            Cursor::new(
                cursor.snapshot(),
                cursor.after().and_then(|key| self.strip(key)),
            )
        });
        Listing {
            entries: self.strip_entries(entries),
            revision,
            cursor,
        }
    }

    /// `None` for an event in which nothing is left.
    fn event(&self, event: WatchEvent) -> Option<WatchEvent> {
        Some(match event {
            WatchEvent::Snapshot {
                reason,
                revision,
                entries,
            } => WatchEvent::Snapshot {
                reason,
                revision,
                entries: self.strip_entries(entries),
            },
            WatchEvent::Changes { revision, changes } => {
                let strip = |change| match change {
                    Change::Put(entry) => self.strip_entry(entry).map(Change::Put),
                    Change::Delete(key) => self.strip(&key).map(Change::Delete),
                };
                let changes: Vec<Change> = changes.into_iter().filter_map(strip).collect();
                (!changes.is_empty()).then_some(WatchEvent::Changes { revision, changes })?
            }
            WatchEvent::Expired { revision, keys } => {
                let keys: Vec<Key> = keys.iter().filter_map(|key| self.strip(key)).collect();
                (!keys.is_empty()).then_some(WatchEvent::Expired { revision, keys })?
            }
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: KvStore> KvStore for PrefixStore<T> {
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let found = self.inner.get_opts(&self.prefix.add(key)?, options).await;
        let entry = found.map_err(|error| self.prefix.strip_error(error))?;
        Ok(entry.and_then(|entry| self.prefix.strip_entry(entry)))
    }

    async fn list_opts(&self, options: ListOptions) -> Result<Listing> {
        let listing = self
            .inner
            .list_opts(self.prefix.list_options(options)?)
            .await?;
        Ok(self.prefix.listing(listing))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit> {
        transaction.check(&self.limits())?;
        let commit = self
            .inner
            .commit(self.prefix.transaction(transaction)?)
            .await;
        commit.map_err(|error| self.prefix.strip_error(error))
    }

    async fn teardown(&self) -> Result<()> {
        // What is written meanwhile stays: to chase it would never end.
        let listing = self.list_opts(ListOptions::default()).await?;
        for entries in listing.entries.chunks(self.limits().transaction_operations) {
            let keys = entries.iter().map(|entry| &entry.key);
            self.commit(keys.fold(Transaction::new(), Transaction::delete))
                .await?;
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        let limits = self.inner.limits();
        let key_bytes = limits
            .key_bytes
            .saturating_sub(self.prefix.0.as_str().len());
        Limits {
            key_bytes,
            ..limits
        }
    }

    async fn usage(&self) -> Result<Usage> {
        let store = format!("the part {:?} of a store", self.prefix.0);
        Err(Error::Unsupported {
            store,
            what: "usage".to_owned(),
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: WatchStore> WatchStore for PrefixStore<T> {
    async fn watch(&self, options: WatchOptions) -> Result<WatchStream> {
        let WatchOptions { prefix, start } = options;
        let options = WatchOptions {
            prefix: format!("{}{prefix}", self.prefix.0),
            start,
        };
        let events = self.inner.watch(options).await?;
        let part = self.prefix.clone();
        let stripped = events.filter_map(move |event| {
            let event = event.map(|event| part.event(event)).transpose();
            std::future::ready(event)
        });
        Ok(stripped.boxed())
    }
}
