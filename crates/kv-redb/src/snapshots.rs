use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_core::Revision;

use crate::read::Snapshot;

/// How many snapshots are kept for cursors.
const MOST: usize = 16;

/// After how many commits a snapshot is dropped, because a cursor that nobody uses any more would
/// make the file grow for good.
const LIFETIME_COMMITS: u64 = 4_096;

/// The snapshots into which cursors were handed out, the least recently used first.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<VecDeque<Arc<Snapshot>>>);

impl Snapshots {
    pub(crate) fn find(&self, revision: Revision) -> Option<Arc<Snapshot>> {
        let kept = self.kept();
        let mut newest_first = kept.iter().rev();
        newest_first
            .find(|snapshot| snapshot.revision() == revision)
            .cloned()
    }

    pub(crate) fn keep(&self, snapshot: Arc<Snapshot>) {
        let mut kept = self.kept();
        kept.retain(|other| other.revision() != snapshot.revision());
        kept.push_back(snapshot);
        if kept.len() > MOST {
            kept.pop_front();
        }
    }

    /// Drops what is too far behind the commit `last`.
    pub(crate) fn prune(&self, last: u64) {
        self.kept()
            .retain(|snapshot| snapshot.revision().get() + LIFETIME_COMMITS > last);
    }

    pub(crate) fn clear(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Snapshot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
