//! Making, opening and removing a bucket.

use std::sync::Arc;

use kv_core::backend::Backoff;
use kv_core::{Error, OpenMode, Result};
use rand::RngExt;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::api::Deletion;
use crate::describe::BUCKET_ID;
use crate::engine::BucketId;
use crate::failure::{Failure, FailureKind};
use crate::handle::Handle;
use crate::known::Known;
use crate::shared::Shared;

impl Handle {
    /// Opens the bucket or makes it, as `mode` says.
    pub(crate) async fn open(&self, mode: OpenMode) -> Result<()> {
        let what = self.shared.api.describe();
        if mode != OpenMode::Create {
            match self.fresh().await? {
                Known::Absent if mode == OpenMode::Open => return Err(Error::NotFound { what }),
                Known::Absent => {}
                _ => return Ok(()),
            }
        }
        let id = BucketId::random(self.shared.hooks.random());
        let create = |shared: Arc<Shared>| async move { shared.create(id).await };
        match self.until_deadline(create).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.kind == FailureKind::AlreadyExists => {
                // Foreign and damaged objects are told as what they are.
                let known = self.fresh().await?;
                let is_ours = known
                    .present()
                    .is_some_and(|present| present.head.id() == id);
                match mode {
                    OpenMode::Create if !is_ours => Err(Error::BucketExists { store: what }),
                    _ => Ok(()),
                }
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Removes the bucket that is there now, whatever state it is in, if it is ours.
    pub(crate) async fn teardown(&self) -> Result<()> {
        let find = |shared: Arc<Shared>| async move { shared.metadata().await };
        let found = self.until_deadline(find).await;
        let Some(head) = found.map_err(|failure| failure.error)? else {
            return Ok(());
        };
        self.delete_head(head.uid().to_owned()).await?;
        let Some(bucket) = head.label(BUCKET_ID).map(str::to_owned) else {
            return Ok(());
        };
        let sweep = |shared: Arc<Shared>| {
            let bucket = bucket.clone();
            async move { shared.delete_all(&bucket).await }
        };
        // The bucket is gone. Where we cannot remove its segments, the cluster does, for their
        // owner is gone.
        if let Err(failure) = self.until_deadline(sweep).await {
            debug!(error = %failure.error, "segments are left to the garbage collector");
        }
        Ok(())
    }

    async fn delete_head(&self, uid: String) -> Result<()> {
        let delete = |shared: Arc<Shared>| {
            let uid = uid.clone();
            async move { shared.delete(&uid).await }
        };
        match self.until_deadline(delete).await {
            Ok(Deletion::Done) => Ok(()),
            Ok(Deletion::Pending) => Err(self.shared.terminating().error),
            Err(failure) if failure.kind == FailureKind::Unknown => {
                let (store, reason) = (self.shared.api.describe(), failure.error.to_string());
                let source = None;
                Err(Error::Indeterminate {
                    store,
                    reason,
                    source,
                })
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Repeats a request that is safe to repeat, until it succeeds, cannot, or takes too long.
    /// What may have been done by an earlier one stays unknown if a later one does not tell.
    pub(crate) async fn until_deadline<T, F>(
        &self,
        request: impl Fn(Arc<Shared>) -> F + Send,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let deadline = Instant::now() + self.deadline;
        let mut backoff = Backoff::new(self.shared.hooks.random().random());
        let mut in_doubt = false;
        loop {
            let mut failure = match timeout_at(deadline, request(self.shared.clone())).await {
                Ok(Err(failure)) => failure,
                Ok(done) => return done,
                Err(_) => Failure::of_timeout(&self.shared.api.describe(), self.deadline),
            };
            in_doubt |= failure.kind == FailureKind::Unknown;
            let wait = failure.wait(&mut backoff);
            if !failure.is_transient() || Instant::now() + wait >= deadline {
                if in_doubt && failure.is_transient() {
                    failure.kind = FailureKind::Unknown;
                }
                return Err(failure);
            }
            sleep(wait).await;
        }
    }
}
