use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Snapshot;
use crate::{Error, ListOptions, Listing, Result};

/// How many snapshots are kept for cursors.
const KEPT: usize = 64;

/// The snapshots into which cursors were handed out, so that the pages of a listing come from one
/// snapshot while commits go on. The oldest goes first.
#[derive(Debug, Default)]
pub struct Cursors {
    kept: Mutex<VecDeque<Snapshot>>,
}

impl Cursors {
    /// The page that `options` describes: of `newest`, or of the snapshot of the cursor.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] where the snapshot of the cursor is gone.
    pub fn page(
        &self,
        newest: &Snapshot,
        options: &ListOptions,
        now: SystemTime,
    ) -> Result<Listing> {
        let Some(cursor) = &options.cursor else {
            return Ok(self.keep_if_more(newest, newest.page(options, now)));
        };
        let requested = cursor.snapshot();
        let kept = self
            .kept()
            .iter()
            .find(|kept| kept.revision() == requested)
            .cloned();
        let snapshot = kept.or_else(|| (newest.revision() == requested).then(|| newest.clone()));
        let current = newest.revision();
        let snapshot = snapshot.ok_or(Error::Compacted { requested, current })?;
        Ok(self.keep_if_more(&snapshot, snapshot.page(options, now)))
    }

    /// Keeps the snapshot of a listing of which more is left, or keeps it for longer.
    fn keep_if_more(&self, snapshot: &Snapshot, listing: Listing) -> Listing {
        if listing.cursor.is_some() {
            let mut kept = self.kept();
            kept.retain(|other| other.revision() != snapshot.revision());
            kept.push_back(snapshot.clone());
            if kept.len() > KEPT {
                kept.pop_front();
            }
        }
        listing
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Snapshot>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    use bytes::Bytes;

    use crate::backend::{Effect, Stored};
    use crate::{Key, Revision};

    fn after_commit(snapshot: &Snapshot, revision: u64) -> Snapshot {
        let stored = Some(Stored {
            value: Bytes::new(),
            expires_at: None,
        });
        let key = Key::new(format!("key {revision}")).unwrap();
        let mut next = snapshot.clone();
        next.apply(Revision::new(revision), &[Effect { key, stored }]);
        next
    }

    #[test]
    fn a_cursor_outlives_commits_until_too_many_others_were_handed_out() {
        let (cursors, now) = (Cursors::default(), UNIX_EPOCH);
        let mut newest = after_commit(&after_commit(&Snapshot::default(), 1), 2);
        let first = ListOptions::default().with_limit(1);
        let cursor = cursors.page(&newest, &first, now).unwrap().cursor.unwrap();
        let rest = ListOptions::default().with_cursor(cursor);
        for revision in 3..3 + KEPT as u64 {
            newest = after_commit(&newest, revision);
            assert_eq!(cursors.page(&newest, &rest, now).unwrap().entries.len(), 1);
        }
        for revision in 100..100 + KEPT as u64 {
            newest = after_commit(&newest, revision);
            cursors.page(&newest, &first, now).unwrap();
        }
        assert!(matches!(
            cursors.page(&newest, &rest, now),
            Err(Error::Compacted { .. })
        ));
    }
}
