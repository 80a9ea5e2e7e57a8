use std::time::Duration;

use kv_core::{Error, KvStore, KvStoreExt, OpenMode};

use crate::Place;
use crate::support::{open, unsupported};

/// An ability that a backend can lack, and that its [`Harness`](crate::Harness) then declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// There is no watch: [`Harness::open_watch`](crate::Harness::open_watch) is `None`.
    Watch,
    /// A put with a time to live is [`Error::Unsupported`].
    Expiry,
    /// [`KvStore::usage`] is [`Error::Unsupported`].
    Usage,
    /// A bucket has no bound: [`Limits::bucket_bytes`](kv_core::Limits::bucket_bytes) is `None`.
    BucketLimit,
    /// A teardown removes the entries and leaves the bucket, as that of a part of a bucket does.
    BucketRemoval,
}

impl Lack {
    /// Asserts that the ability is lacking in the way that its documentation says.
    pub(crate) async fn assert(self, place: &dyn Place) {
        match self {
            Self::Watch => assert!(
                place.open_watch().await.is_none(),
                "the harness declares that it lacks watch, and has it"
            ),
            Self::Expiry => {
                let store = open(place).await;
                let put = store.put_expiring("k", "v", Duration::from_secs(1)).await;
                unsupported(put, "a put with a time to live");
            }
            Self::Usage => unsupported(open(place).await.usage().await, "usage"),
            Self::BucketLimit => {
                let store = place.open_small().await.expect("the bucket opens");
                assert_eq!(
                    store.limits().bucket_bytes,
                    None,
                    "the harness declares that a bucket has no bound, and it has one"
                );
            }
            Self::BucketRemoval => assert_bucket_stays(place).await,
        }
    }
}

async fn assert_bucket_stays(place: &dyn Place) {
    let store = open(place).await;
    store.put("k", "v").await.expect("a put succeeds");
    store.teardown().await.expect("a teardown succeeds");
    let reopened = place.open(OpenMode::Open).await;
    let reopened: Result<_, Error> = reopened.map(|_| ());
    reopened.expect("the harness declares that a teardown leaves the bucket");
}
