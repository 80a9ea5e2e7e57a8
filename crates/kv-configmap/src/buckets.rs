use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use kv_core::backend::ForwardClock;
use kv_core::{Clock, OpenMode, Result, SystemClock};

use crate::api::BucketApi;
use crate::budget::{Rate, WriteBudget};
use crate::engine::{Layout, MOST_BUCKET_BYTES};
use crate::handle::Handle;
use crate::hooks::Hooks;
use crate::name;
use crate::report::{CheckReport, Orphan};
use crate::resource::Resource;
use crate::shared::Shared;
use crate::store::ConfigMapStore;

/// How long a call waits for the API server before it gives up.
const DEADLINE: Duration = Duration::from_secs(30);
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// The buckets of one namespace, in ConfigMaps or in Secrets.
///
/// Handles that are opened from one `Buckets` on the same bucket share what they know of it, and
/// their transactions share writes; so keep one `Buckets` for each namespace and clone it.
/// Handles from different ones, in the same process or not, are safe with each other.
///
/// # Example
///
/// ```no_run
/// use kv_configmap::Buckets;
/// use kv_core::{OpenMode, prelude::*};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = kube::Client::try_default().await?;
/// let buckets = Buckets::config_maps(client, "default");
/// let store = buckets.open("approvals", OpenMode::OpenOrCreate).await?;
/// store.put("deployments/web", "approved").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Buckets {
    client: kube::Client,
    resource: Resource,
    namespace: String,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    layout: Layout,
    budget: Arc<WriteBudget>,
    hooks: Hooks,
    open: Arc<Mutex<HashMap<String, Weak<Handle>>>>,
}

impl Buckets {
    /// Buckets in the ConfigMaps of `namespace`.
    #[must_use]
    pub fn config_maps(client: kube::Client, namespace: &str) -> Self {
        Self::new(client, Resource::ConfigMap, namespace)
    }

    /// Buckets in the Secrets of `namespace`. We do not encrypt their values: what protects them
    /// is the cluster's access control, and its encryption at rest if it is set up.
    #[must_use]
    pub fn secrets(client: kube::Client, namespace: &str) -> Self {
        Self::new(client, Resource::Secret, namespace)
    }

    fn new(client: kube::Client, resource: Resource, namespace: &str) -> Self {
        Self {
            client,
            resource,
            namespace: namespace.to_owned(),
            deadline: DEADLINE,
            clock: Arc::new(SystemClock),
            layout: Layout::SEGMENTED,
            budget: Arc::new(WriteBudget::new(Some(Rate::DEFAULT))),
            hooks: Hooks::default(),
            open: Arc::default(),
        }
    }

    /// How long a call waits for the API server before it gives up: 30 s unless it is set, at most
    /// a day.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        let deadline = deadline.min(LONGEST_DEADLINE);
        // Handles that are open keep theirs.
        Self {
            deadline,
            open: Arc::default(),
            ..self
        }
    }

    /// Takes the time from `clock`, which decides when entries expire.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        Self {
            clock: Arc::new(clock),
            open: Arc::default(),
            ..self
        }
    }

    /// Keeps each bucket in one object: at most 1,036,288 bytes after compression, values of at most
    /// 1,024,000 bytes, and a role that names that object is enough. Every commit then writes the
    /// whole bucket.
    ///
    /// A bucket that has segments already does not open: it is
    /// [`Error::Unsupported`](kv_core::Error::Unsupported). So is one to which a program gives
    /// segments that does not open it so. This also resets [`Buckets::with_bucket_bytes`].
    #[must_use]
    pub fn in_single_objects(self) -> Self {
        self.with_layout(Layout::SINGLE_OBJECT)
    }

    /// Sets how much a bucket may hold, in bytes after compression: 64 MiB unless it is set, at
    /// most 256 MiB. All of it is kept in memory. What has been overwritten comes on top in the
    /// cluster, until it is compacted.
    ///
    /// Give the same to every program that writes the bucket: each refuses what is over its own.
    #[must_use]
    pub fn with_bucket_bytes(self, bytes: u64) -> Self {
        let bucket_bytes = bytes.min(MOST_BUCKET_BYTES);
        let layout = Layout {
            bucket_bytes: if self.layout.has_segments {
                bucket_bytes
            } else {
                bucket_bytes.min(Layout::SINGLE_OBJECT.bucket_bytes)
            },
            ..self.layout
        };
        self.with_layout(layout)
    }

    /// Sets how many bytes of objects are written to the cluster: 256 KiB a second over time, and
    /// 4 MiB at once, unless it is set. Writes wait while that is used up, at most 5 s for each
    /// object, and share more transactions each; a transaction of many segments can reach its
    /// deadline. All buckets that are opened from this `Buckets` and its clones share the budget.
    #[must_use]
    pub fn with_write_budget(self, bytes_per_second: u64, burst_bytes: u64) -> Self {
        self.with_budget(Some(Rate {
            bytes_per_second,
            burst_bytes,
        }))
    }

    /// Writes as fast as the API server takes it.
    #[must_use]
    pub fn without_write_budget(self) -> Self {
        self.with_budget(None)
    }

    /// Makes every part of a bucket so small that a few commits flush, merge and compact: for
    /// tests of this store.
    #[doc(hidden)]
    #[must_use]
    pub fn with_tiny_parts(self) -> Self {
        self.with_layout(Layout::TINY)
    }

    /// Puts the store into the hands of a simulation.
    #[cfg(feature = "simulation")]
    #[doc(hidden)]
    #[must_use]
    pub fn in_simulation(self, simulation: crate::Simulation) -> Self {
        Self {
            hooks: Hooks::new(simulation),
            open: Arc::default(),
            ..self
        }
    }

    fn with_layout(self, layout: Layout) -> Self {
        Self {
            layout,
            open: Arc::default(),
            ..self
        }
    }

    fn with_budget(self, rate: Option<Rate>) -> Self {
        Self {
            budget: Arc::new(WriteBudget::new(rate)),
            open: Arc::default(),
            ..self
        }
    }

    /// Opens the bucket `name`, creates it, or whichever is needed, as `mode` says.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`](kv_core::Error::InvalidName) before any request,
    /// [`Error::NotFound`](kv_core::Error::NotFound) for a missing bucket or namespace,
    /// [`Error::BucketExists`](kv_core::Error::BucketExists),
    /// [`Error::Foreign`](kv_core::Error::Foreign) where the object was not made by us,
    /// [`Error::Corrupt`](kv_core::Error::Corrupt) where it, or one of its segments, is damaged,
    /// [`Error::Unsupported`](kv_core::Error::Unsupported) where it has segments and is to be in a
    /// single object, or is of a newer format, and the failures of the API server.
    pub async fn open(&self, name: &str, mode: OpenMode) -> Result<ConfigMapStore> {
        name::check_namespace(&self.namespace)?;
        name::check_bucket(name)?;
        let handle = self.handle(name);
        handle.open(mode).await?;
        Ok(ConfigMapStore::new(handle))
    }

    /// Removes the bucket `name` and everything in it, also one that is damaged and does not open.
    /// A bucket that is not there is no error.
    ///
    /// # Errors
    ///
    /// As [`KvStore::teardown`](kv_core::KvStore::teardown).
    pub async fn teardown(&self, name: &str) -> Result<()> {
        name::check_namespace(&self.namespace)?;
        name::check_bucket(name)?;
        self.handle(name).teardown().await
    }

    /// Finds out what is damaged in the bucket `name`, and what can be read in spite of it. Nothing
    /// is written.
    ///
    /// It asks for every object of the bucket, and for the names of all in the namespace.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](kv_core::Error::NotFound),
    /// [`Error::Foreign`](kv_core::Error::Foreign) and
    /// [`Error::Unsupported`](kv_core::Error::Unsupported), where there is no bucket to check, or
    /// one of a newer format, and the failures of the API server. Damage is no error.
    pub async fn check(&self, name: &str) -> Result<CheckReport> {
        name::check_namespace(&self.namespace)?;
        name::check_bucket(name)?;
        let checked = self.handle(name).check().await?;
        Ok(checked.report)
    }

    /// Removes the segments of the bucket `name` that its head does not name, and returns them.
    /// Others can go on writing meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`Buckets::check`], and [`Error::Corrupt`](kv_core::Error::Corrupt) where the
    /// bucket is damaged: what the head does not name may be all that is left then, and nothing is
    /// removed.
    pub async fn repair(&self, name: &str) -> Result<Vec<Orphan>> {
        name::check_namespace(&self.namespace)?;
        name::check_bucket(name)?;
        self.handle(name).repair().await
    }

    /// The running handle of a bucket, or a new one.
    fn handle(&self, name: &str) -> Arc<Handle> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, handle| handle.strong_count() > 0);
        let running = open
            .get(name)
            .and_then(Weak::upgrade)
            .filter(|handle| !handle.is_closed());
        running.unwrap_or_else(|| {
            let (namespace, bucket) = (self.namespace.clone(), name.to_owned());
            let api = BucketApi::new(self.client.clone(), self.resource, namespace, bucket);
            let clock = ForwardClock::new(self.clock.clone());
            let (budget, hooks) = (self.budget.clone(), self.hooks.clone());
            let shared = Shared::new(api, clock, self.layout, budget, hooks);
            let handle = Arc::new(Handle::start(shared, self.deadline));
            open.insert(name.to_owned(), Arc::downgrade(&handle));
            handle
        })
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("resource", &self.resource)
            .field("namespace", &self.namespace)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
