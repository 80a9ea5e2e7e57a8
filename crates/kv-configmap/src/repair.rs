//! Removing what a bucket does not need.

use std::sync::Arc;

use kv_core::{Error, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::check::Checked;
use crate::committer::{Fate, Handed};
use crate::engine::Edit;
use crate::handle::Handle;
use crate::hooks::CrashPoint;
use crate::known::Present;
use crate::report::{CheckReport, Orphan};
use crate::shared::Shared;

impl Handle {
    /// Removes the segments that the head does not name. Those that were there before the sweep
    /// epoch was raised, and that the head then does not name, can no longer be named by any.
    pub(crate) async fn repair(&self) -> Result<Vec<Orphan>> {
        let Checked { report, orphans } = self.check().await?;
        if let Some(reason) = reason_to_leave_all(&report) {
            let object = self.shared.api.describe();
            return Err(Error::Corrupt { object, reason });
        }
        if orphans.is_empty() {
            return Ok(Vec::new());
        }
        let head = self.raise_sweep_epoch().await?;
        let named = head.head.segments().into_iter();
        let named: Vec<_> = named.map(|id| self.shared.api.segment_name(id)).collect();
        let is_removed = |name: &str| !named.iter().any(|named| named == name);
        let mut objects = orphans;
        objects.retain(|object| is_removed(object.name()));
        let delete = |shared: Arc<Shared>| {
            let objects = objects.clone();
            async move {
                shared
                    .delete_listed(objects, CrashPoint::OrphanRemoved)
                    .await
            }
        };
        let deleted = self.until_deadline(delete).await;
        deleted.map_err(|failure| failure.error)?;
        let mut removed = report.orphans;
        removed.retain(|orphan| is_removed(&orphan.name));
        Ok(removed)
    }

    /// Makes whoever has made segments that are not named yet make them anew; returns the head
    /// from then on.
    async fn raise_sweep_epoch(&self) -> Result<Arc<Present>> {
        let known = self.fresh().await?;
        let Some(present) = known.present() else {
            let what = self.shared.api.describe();
            return Err(Error::NotFound { what });
        };
        let (done, fate) = oneshot::channel();
        let handed = Handed {
            bucket: present.head.id(),
            edit: Edit::RaiseSweepEpoch,
            done,
        };
        let raise = async {
            self.edits.send(handed).await.ok()?;
            fate.await.ok()
        };
        match timeout(self.deadline, raise).await {
            Ok(Some(Fate::InPlace(present))) => Ok(present),
            _ => Err(Error::Unavailable {
                store: self.shared.api.describe(),
                reason: "its head could not be written, so that nothing was removed".to_owned(),
                source: None,
            }),
        }
    }
}

/// Where something is lost, what the head does not name may be all that is left of it.
fn reason_to_leave_all(report: &CheckReport) -> Option<String> {
    let reason = match &report.head {
        Err(reason) => reason.clone(),
        Ok(_) if report.is_head_outdated() => {
            "its head is older than some of its segments".to_owned()
        }
        Ok(_) if report.is_sound() => return None,
        Ok(head) => match (&head.frozen, report.readable.lost.first()) {
            (Some(reason), _) => reason.clone(),
            (None, Some(lost)) => lost.reason.clone(),
            (None, None) => "the cluster will remove segments of it".to_owned(),
        },
    };
    Some(format!("{reason}; nothing was removed"))
}
