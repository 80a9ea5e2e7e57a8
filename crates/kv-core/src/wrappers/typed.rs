use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Entry, Error, GetOptions, Key, KvStore, KvStoreExt, ListOptions, Result, Revision};

/// A store whose values are of one type `V`, encoded by the codec `C` ([`Json`] by default).
///
/// An entry that does not decode is an error that names its key, also in a listing: nothing is
/// left out silently.
///
/// # Example
///
/// ```
/// use kv_core::{TypedStore, prelude::*};
/// use kv_memory::MemoryStore;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Approval { approved: bool, votes: u32 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let approvals: TypedStore<_, Approval> = TypedStore::new(MemoryStore::new());
/// approvals.put("deployments/web", &Approval { approved: false, votes: 1 }).await?;
/// approvals.modify("deployments/web", |old| {
///     let votes = old.map_or(0, |approval| approval.votes) + 1;
///     Some(Approval { approved: votes >= 2, votes })
/// }).await?;
/// let approval = approvals.get("deployments/web").await?.expect("it was put").value;
/// assert!(approval.approved);
/// # Ok(())
/// # }
/// ```
pub struct TypedStore<T, V, C = Json> {
    inner: T,
    codec: C,
    // A function type, so that the store is Send and Sync whatever V is.
    values: PhantomData<fn(V) -> V>,
}

/// Turns values into bytes and back.
pub trait Codec<V>: Send + Sync {
    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// A text that says why, without the value.
    fn encode(&self, value: &V) -> Result<Bytes, String>;

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// A text that says why, without the value.
    fn decode(&self, bytes: &[u8]) -> Result<V, String>;
}

/// Values as JSON text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    fn encode(&self, value: &V) -> Result<Bytes, String> {
        serde_json::to_vec(value)
            .map(Bytes::from)
            .map_err(|error| describe(&error))
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, String> {
        serde_json::from_slice(bytes).map_err(|error| describe(&error))
    }
}

/// serde's own message can quote the value, which may be a secret; the place and the kind cannot.
fn describe(error: &serde_json::Error) -> String {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    format!("JSON {kind:?} error at line {line} column {column}")
}

/// An [`Entry`] with its value decoded. `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq)]
pub struct TypedEntry<V> {
    /// The name of the entry.
    pub key: Key,
    /// The value.
    pub value: V,
    /// The commit that last wrote the entry.
    pub revision: Revision,
    /// From this time on the entry is absent; `None`: it stays.
    pub expires_at: Option<SystemTime>,
}

impl<V> fmt::Debug for TypedEntry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedEntry")
            .field("key", &self.key)
            .field("revision", &self.revision)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl<T: fmt::Debug, V, C: fmt::Debug> fmt::Debug for TypedStore<T, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedStore")
            .field("inner", &self.inner)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl<T, V> TypedStore<T, V, Json> {
    /// Keeps values as JSON in `inner`.
    #[must_use]
    pub fn new(inner: T) -> Self {
        Self::with_codec(inner, Json)
    }
}

impl<T, V, C> TypedStore<T, V, C> {
    /// Keeps values encoded by `codec` in `inner`.
    #[must_use]
    pub fn with_codec(inner: T, codec: C) -> Self {
        Self {
            inner,
            codec,
            values: PhantomData,
        }
    }
}

impl<T: KvStore, V, C: Codec<V>> TypedStore<T, V, C> {
    /// The store of bytes, for what the typed verbs do not offer: transactions, teardown.
    #[must_use]
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Encodes a value as this store does, for a transaction on [`TypedStore::inner`].
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where the codec cannot encode it.
    pub fn encode(&self, value: &V) -> Result<Bytes> {
        self.codec
            .encode(value)
            .map_err(|reason| Error::Unsupported {
                store: "the codec of a typed store".to_owned(),
                what: format!("this value: {reason}"),
            })
    }

    /// Encodes before anything is awaited, so that the future does not hold a `&V`.
    fn encode_under<K>(&self, key: K, value: &V) -> Result<(Key, Bytes)>
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        Ok((key.try_into().map_err(Into::into)?, self.encode(value)?))
    }

    /// Decodes an entry as this store does.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the bytes are no `V`.
    pub fn decode(&self, entry: Entry) -> Result<TypedEntry<V>> {
        let Entry {
            key,
            value,
            revision,
            expires_at,
        } = entry;
        match self.codec.decode(&value) {
            Ok(value) => Ok(TypedEntry {
                key,
                value,
                revision,
                expires_at,
            }),
            Err(reason) => Err(Error::Corrupt {
                object: format!("key {key:?}"),
                reason,
            }),
        }
    }

    /// Reads an entry, as [`KvStoreExt::get`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where it is no `V`, and as [`KvStoreExt::get`].
    pub async fn get<K>(&self, key: K) -> Result<Option<TypedEntry<V>>>
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        self.get_opts(key, GetOptions::default()).await
    }

    /// Reads an entry, as [`KvStore::get_opts`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where it is no `V`, and as [`KvStore::get_opts`].
    pub async fn get_opts<K>(&self, key: K, options: GetOptions) -> Result<Option<TypedEntry<V>>>
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        self.inner
            .get_opts(&key, options)
            .await?
            .map(|entry| self.decode(entry))
            .transpose()
    }

    /// Stores a value, as [`KvStoreExt::put`].
    ///
    /// # Errors
    ///
    /// As [`KvStoreExt::put`].
    pub fn put<K>(&self, key: K, value: &V) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let encoded = self.encode_under(key, value);
        async move {
            let (key, value) = encoded?;
            self.inner.put(key, value).await
        }
    }

    /// Stores a value under a key that must be absent, as [`KvStoreExt::create`].
    ///
    /// # Errors
    ///
    /// As [`KvStoreExt::create`].
    pub fn create<K>(&self, key: K, value: &V) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let encoded = self.encode_under(key, value);
        async move {
            let (key, value) = encoded?;
            self.inner.create(key, value).await
        }
    }

    /// Stores a value over the entry of exactly that revision, as [`KvStoreExt::update`].
    ///
    /// # Errors
    ///
    /// As [`KvStoreExt::update`].
    pub fn update<K>(
        &self,
        key: K,
        value: &V,
        revision: Revision,
    ) -> impl Future<Output = Result<Revision>> + Send
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let encoded = self.encode_under(key, value);
        async move {
            let (key, value) = encoded?;
            self.inner.update(key, value, revision).await
        }
    }

    /// Removes a key, as [`KvStoreExt::delete`].
    ///
    /// # Errors
    ///
    /// As [`KvStoreExt::delete`].
    pub async fn delete<K>(&self, key: K) -> Result<bool>
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        self.inner.delete(key).await
    }

    /// Removes the entry of exactly that revision, as [`KvStoreExt::delete_at`].
    ///
    /// # Errors
    ///
    /// As [`KvStoreExt::delete_at`].
    pub async fn delete_at<K>(&self, key: K, revision: Revision) -> Result<Revision>
    where
        K: TryInto<Key, Error: Into<Error>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        self.inner.delete_at(key, revision).await
    }

    /// Reads all entries whose keys begin with `prefix`, as [`KvStoreExt::list`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for the first entry that is no `V`, and as [`KvStoreExt::list`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<TypedEntry<V>>> {
        let listing = self.inner.list_opts(ListOptions::prefix(prefix)).await?;
        listing
            .entries
            .into_iter()
            .map(|entry| self.decode(entry))
            .collect()
    }

    /// Changes an entry from what it is, as [`KvStoreExt::modify`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the entry is no `V`: it is not overwritten; and as
    /// [`KvStoreExt::modify`].
    pub async fn modify<K, F>(&self, key: K, mut change: F) -> Result<Revision>
    where
        K: TryInto<Key, Error: Into<Error>>,
        F: FnMut(Option<V>) -> Option<V> + Send,
    {
        let key = key.try_into().map_err(Into::into)?;
        let change = |old: Option<&Entry>| -> Result<Option<Bytes>> {
            let old = old.map(|entry| self.decode(entry.clone())).transpose()?;
            change(old.map(|entry| entry.value))
                .map(|new| self.encode(&new))
                .transpose()
        };
        self.inner.try_modify(key, change).await
    }
}
