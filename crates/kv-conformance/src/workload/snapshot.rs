use kv_core::{Consistency, Entry, KvStore, ListOptions};
use rand::{Rng, RngExt};

use crate::{Failure, Violation};

/// How to read a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) consistency: Consistency,
    /// Entries on a page; `None`: all on one.
    page: Option<usize>,
}

impl Reading {
    pub(super) const NEWEST: Self = Self {
        consistency: Consistency::Linearizable,
        page: None,
    };

    pub(super) fn random(rng: &mut (dyn Rng + Send)) -> Self {
        let consistency = if rng.random_bool(0.25) {
            Consistency::Cached
        } else {
            Consistency::Linearizable
        };
        Self {
            consistency,
            page: rng.random_bool(0.25).then(|| rng.random_range(2..50)),
        }
    }

    pub(super) fn is_newest(self) -> bool {
        self.consistency == Consistency::Linearizable
    }

    /// The entries under `prefix`, all of one snapshot though they come in pages.
    pub(super) async fn read(
        self,
        store: &dyn KvStore,
        prefix: &str,
    ) -> Result<Vec<Entry>, Failure> {
        let options = ListOptions {
            limit: self.page,
            consistency: self.consistency,
            ..ListOptions::prefix(prefix)
        };
        let mut listing = store.list_opts(options.clone()).await?;
        let mut entries = Vec::new();
        loop {
            entries.append(&mut listing.entries);
            let Some(cursor) = listing.cursor.take() else {
                return Ok(entries);
            };
            let next = store.list_opts(options.clone().with_cursor(cursor)).await?;
            Violation::unless(next.revision == listing.revision, || {
                let (one, other) = (listing.revision, next.revision);
                format!("the pages of one listing are of {one} and of {other}")
            })?;
            listing = next;
        }
    }
}

/// The number that an entry holds.
pub(super) fn number(entry: &Entry) -> Result<u64, Violation> {
    let text = std::str::from_utf8(&entry.value).ok();
    let number = text.and_then(|text| text.parse().ok());
    let length = entry.value.len();
    let violation = || format!("{:?} holds no number but {length} bytes", entry.key);
    Violation::unless(number.is_some(), violation)?;
    Ok(number.unwrap_or_default())
}
