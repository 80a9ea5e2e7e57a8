use async_trait::async_trait;

use crate::{
    Commit, Entry, GetOptions, Key, Limits, ListOptions, Listing, Result, Transaction, Usage,
};

/// A bucket of keys and values: what a backend implements.
///
/// Applications take `impl KvStore` (or `Arc<dyn KvStore>`: the trait is object-safe) and call the
/// plain verbs of [`KvStoreExt`](crate::KvStoreExt). No method has a default, so that nothing is
/// promised by accident: a backend or a wrapper that lacks an ability says
/// [`Error::Unsupported`](crate::Error::Unsupported) itself.
///
/// # Promises
///
/// Every implementation passes the suite of the crate `kv-conformance`, which holds the contract
/// as tests. In short:
///
/// 1. **Atomic**: nobody sees a part of a transaction.
/// 2. **Linearizable** unless the caller asks for less, see [`Consistency`](crate::Consistency).
/// 3. **Durable**: acknowledged means stored, as the backend's page says.
/// 4. **Isolated lists**: a listing is one snapshot, and so are pages taken with one cursor.
/// 5. **Unchanged is unwritten**: a put of what is stored already and a delete of a missing key
///    make no commit.
/// 6. **Conditions** that fail name the key, what was expected and what is there.
/// 7. **Exactly once**: a transaction is applied at most once; where it cannot be known, the
///    answer is [`Error::Indeterminate`](crate::Error::Indeterminate). A future that is dropped
///    before it is done may or may not have applied its transaction; the store stays usable.
/// 8. **Expiry**: after its time an entry is absent from every read and condition.
/// 9. **Limits** are known before the call, and nothing is written where one is passed.
/// 10. **Foreign data is safe**: a store never adopts, changes or deletes what it did not make.
#[async_trait]
pub trait KvStore: Send + Sync {
    /// Reads one entry; `None`: there is no such key.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`](crate::Error::Unavailable) and the other failures of the service.
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>>;

    /// Reads entries in the order of their keys, all from one snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`](crate::Error::Compacted) where the snapshot of a cursor is gone, and
    /// the failures of the service.
    async fn list_opts(&self, options: ListOptions) -> Result<Listing>;

    /// Applies a transaction, all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) and
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) for a condition that does not hold,
    /// [`Error::TooLarge`](crate::Error::TooLarge),
    /// [`Error::ZeroTtl`](crate::Error::ZeroTtl) and
    /// [`Error::BucketFull`](crate::Error::BucketFull) for what does not fit,
    /// [`Error::Indeterminate`](crate::Error::Indeterminate) where the outcome is unknown, and the
    /// failures of the service. [`Error::outcome`](crate::Error::outcome) tells for each whether
    /// the transaction can have been applied.
    async fn commit(&self, transaction: Transaction) -> Result<Commit>;

    /// Removes the bucket and everything in it. A bucket that is not there is no error.
    ///
    /// Afterwards reads find the bucket empty, and the next put makes it anew, with higher
    /// revisions.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`](crate::Error::Foreign) where the bucket is not ours, and the failures of
    /// the service.
    async fn teardown(&self) -> Result<()>;

    /// What the store accepts.
    fn limits(&self) -> Limits;

    /// How full the bucket is.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`](crate::Error::Unsupported) where the store cannot know it, and the
    /// failures of the service.
    async fn usage(&self) -> Result<Usage>;
}
