use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use crate::{
    Commit, Consistency, Cursor, Entry, Error, GetOptions, Key, KvStore, ListOptions, Result,
    Revision, Transaction,
};

/// How many entries [`KvStoreExt::scan`] asks for at a time.
const SCAN_PAGE: usize = 1_000;

/// How many reads of [`KvStoreExt::get_many`] are under way at a time.
const GETS_AT_ONCE: usize = 64;

/// How often [`KvStoreExt::modify`] begins again after a conflict before it gives up. Every
/// conflict means that another writer succeeded: a hundred tasks that change one key meet a
/// hundred each where they take turns, and several times that where they do not.
const MODIFY_ATTEMPTS: u32 = 10_000;

/// The plain verbs of a store: what applications call. Every [`KvStore`] has them.
///
/// Keys are given as `&str`, `String`, [`Key`] or `&Key`; values as anything that turns into
/// [`Bytes`].
///
/// # Example
///
/// ```
/// use kv_core::prelude::*;
///
/// # async fn example(store: impl KvStore) -> Result<(), Error> {
/// let revision = store.put("foo", "hello").await?;
/// let entry = store.get("foo").await?.expect("it was just put");
/// assert_eq!(entry.value, "hello");
/// store.update("foo", "hello again", revision).await?;
/// assert!(store.delete("foo").await?);
/// # Ok(())
/// # }
/// ```
pub trait KvStoreExt: KvStore {
    /// Reads an entry, linearizably; `None`: there is no such key.
    ///
    /// # Errors
    ///
    /// As [`KvStore::get_opts`].
    fn get<K>(&self, key: K) -> impl Future<Output = Result<Option<Entry>>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let key = parse(key);
        async move { self.get_opts(&key?, GetOptions::default()).await }
    }

    /// Stores a value, whatever was there, and returns the revision that the entry has now.
    ///
    /// # Errors
    ///
    /// As [`KvStore::commit`].
    fn put<K, V>(&self, key: K, value: V) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
        V: Into<Bytes>,
    {
        let transaction = parse(key).map(|key| Transaction::new().put(key, value));
        async move {
            self.commit(transaction?)
                .await
                .map(|commit| entry_revision(&commit))
        }
    }

    /// Stores a value that is absent again after the time `ttl`.
    ///
    /// # Errors
    ///
    /// As [`KvStore::commit`].
    fn put_expiring<K, V>(
        &self,
        key: K,
        value: V,
        ttl: Duration,
    ) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
        V: Into<Bytes>,
    {
        let transaction = parse(key).map(|key| Transaction::new().put_expiring(key, value, ttl));
        async move {
            self.commit(transaction?)
                .await
                .map(|commit| entry_revision(&commit))
        }
    }

    /// Removes a key and tells whether it was there.
    ///
    /// # Errors
    ///
    /// As [`KvStore::commit`].
    fn delete<K>(&self, key: K) -> impl Future<Output = Result<bool>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let transaction = parse(key).map(|key| Transaction::new().delete(key));
        async move {
            let commit = self.commit(transaction?).await?;
            Ok(commit.previous.iter().any(Option::is_some))
        }
    }

    /// Reads all entries whose keys begin with `prefix`, in order, from one snapshot, linearizably.
    ///
    /// For more entries than fit in memory see [`KvStoreExt::scan`].
    ///
    /// # Errors
    ///
    /// As [`KvStore::list_opts`].
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<Entry>>> + Send {
        let options = ListOptions::prefix(prefix);
        async move { self.list_opts(options).await.map(|listing| listing.entries) }
    }

    /// Stores a value under a key that must be absent.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] where it is there, and as [`KvStore::commit`].
    fn create<K, V>(&self, key: K, value: V) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
        V: Into<Bytes>,
    {
        let transaction =
            parse(key).map(|key| Transaction::new().require_absent(&key).put(key, value));
        async move {
            self.commit(transaction?)
                .await
                .map(|commit| entry_revision(&commit))
        }
    }

    /// Stores a value over the entry of exactly that revision.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where it is another one or none, and as [`KvStore::commit`].
    fn update<K, V>(
        &self,
        key: K,
        value: V,
        revision: Revision,
    ) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
        V: Into<Bytes>,
    {
        let transaction = parse(key).map(|key| {
            Transaction::new()
                .require_at(&key, revision)
                .put(key, value)
        });
        async move {
            self.commit(transaction?)
                .await
                .map(|commit| entry_revision(&commit))
        }
    }

    /// Removes the entry of exactly that revision.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where it is another one or none, and as [`KvStore::commit`].
    fn delete_at<K>(
        &self,
        key: K,
        revision: Revision,
    ) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let transaction =
            parse(key).map(|key| Transaction::new().require_at(&key, revision).delete(key));
        async move {
            self.commit(transaction?)
                .await
                .map(|commit| commit.revision)
        }
    }

    /// Changes an entry from what it is: calls `change` with it and stores what comes back, or
    /// removes the key for `None`. If another writer comes between, it begins again with the new
    /// entry, so that no update is lost; `change` may therefore be called several times.
    ///
    /// Returns the revision after which the change is in place. As any put without a time to
    /// live, it clears an expiry.
    ///
    /// # Example
    ///
    /// ```
    /// use kv_core::prelude::*;
    ///
    /// # async fn example(store: impl KvStore) -> Result<(), Error> {
    /// store.modify("votes", |old| {
    ///     let votes: u64 = old.map_or(0, |entry| {
    ///         String::from_utf8_lossy(&entry.value).parse().unwrap_or(0)
    ///     });
    ///     Some((votes + 1).to_string())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] after 10,000 attempts, and as [`KvStore::commit`].
    fn modify<K, V, F>(
        &self,
        key: K,
        mut change: F,
    ) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
        V: Into<Bytes>,
        F: FnMut(Option<&Entry>) -> Option<V> + Send,
    {
        self.try_modify(key, move |old| Ok::<_, Error>(change(old)))
    }

    /// As [`KvStoreExt::modify`], with a `change` that can refuse: then nothing is written, and
    /// its error is returned.
    ///
    /// # Errors
    ///
    /// What `change` returns, and as [`KvStoreExt::modify`].
    fn try_modify<K, V, F, E>(
        &self,
        key: K,
        mut change: F,
    ) -> impl Future<Output = Result<Revision, E>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
        V: Into<Bytes>,
        F: FnMut(Option<&Entry>) -> Result<Option<V>, E> + Send,
        E: From<Error> + Send,
    {
        let key = parse(key);
        async move {
            let key = key?;
            let mut conflicts = 0;
            // A commit checks what was read, so that the first read may come from the cache and
            // the whole costs one request.
            let mut consistency = Consistency::Cached;
            loop {
                let old = self.get_opts(&key, GetOptions { consistency }).await?;
                let new = match change(old.as_ref()) {
                    Ok(new) => new.map(Into::into),
                    // A refusal is not checked by a commit: it must not rest on an old entry.
                    Err(_) if consistency == Consistency::Cached => {
                        consistency = Consistency::Linearizable;
                        continue;
                    }
                    Err(refusal) => return Err(refusal),
                };
                let conflict = match self.commit(replace(&key, old.as_ref(), new)).await {
                    Ok(commit) => return Ok(entry_revision(&commit)),
                    Err(error) if error.is_conflict() => error,
                    Err(error) => return Err(error.into()),
                };
                conflicts += 1;
                if conflicts == MODIFY_ATTEMPTS {
                    return Err(conflict.into());
                }
                // No wait here: what was read would be old by then. To spread writers is up to
                // the store, which waits before it reads.
                consistency = newer_than(&conflict);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads several entries: one result for each key, in the order given. Each read is
    /// linearizable; for one snapshot of all of them use [`KvStoreExt::list`].
    ///
    /// # Errors
    ///
    /// As [`KvStore::get_opts`], or the first key that is none.
    fn get_many<K>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<Vec<Option<Entry>>>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let keys: Result<Vec<Key>> = keys.into_iter().map(parse).collect();
        async move {
            let gets = keys?
                .into_iter()
                .map(|key| async move { self.get_opts(&key, GetOptions::default()).await });
            let gets: Vec<_> = gets.collect();
            stream::iter(gets)
                .buffered(GETS_AT_ONCE)
                .try_collect()
                .await
        }
    }

    /// Streams all entries whose keys begin with `prefix`, in order, page by page, all from the
    /// snapshot of the first page.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] where the store could not keep the snapshot for that long, and as
    /// [`KvStore::list_opts`]; the stream ends with the error.
    fn scan(&self, prefix: &str) -> impl Stream<Item = Result<Entry>> + Send {
        let options = ListOptions::prefix(prefix).with_limit(SCAN_PAGE);
        stream::try_unfold(Page::First, move |page| {
            let options = options.clone();
            async move {
                let options = match page {
                    Page::First => options,
                    Page::After(cursor) => options.with_cursor(cursor),
                    Page::End => return Ok::<_, Error>(None),
                };
                let listing = self.list_opts(options).await?;
                let entries = stream::iter(listing.entries.into_iter().map(Ok));
                Ok(Some((
                    entries,
                    listing.cursor.map_or(Page::End, Page::After),
                )))
            }
        })
        .try_flatten()
    }
}

impl<T: KvStore + ?Sized> KvStoreExt for T {}

enum Page {
    First,
    After(Cursor),
    End,
}

fn parse<K: TryInto<Key, Error: Into<Error>>>(key: K) -> Result<Key> {
    key.try_into().map_err(Into::into)
}

/// The revision of the one entry that a transaction wrote, or of the commit that removed it.
fn entry_revision(commit: &Commit) -> Revision {
    commit
        .current
        .first()
        .copied()
        .flatten()
        .unwrap_or(commit.revision)
}

/// A read that sees what the conflict was about. The store knows it already, so that the read need
/// not cost a request.
fn newer_than(conflict: &Error) -> Consistency {
    match conflict {
        Error::AlreadyExists { actual, .. }
        | Error::Conflict {
            actual: Some(actual),
            ..
        } => Consistency::AtLeast(*actual),
        _ => Consistency::Linearizable,
    }
}

/// Puts `new` in the place of `old`, and of nothing else.
fn replace(key: &Key, old: Option<&Entry>, new: Option<Bytes>) -> Transaction {
    let transaction = match old {
        Some(entry) => Transaction::new().require_at(key, entry.revision),
        None => Transaction::new().require_absent(key),
    };
    match new {
        Some(value) => transaction.put(key, value),
        None => transaction.delete(key),
    }
}
