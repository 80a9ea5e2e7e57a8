use std::sync::Arc;

use kv_core::backend::Snapshot;
use kv_core::{Error, Result, Revision};

use crate::describe::{MANAGED_BY, MANAGER};
use crate::engine::{BucketId, Head, ResourceVersion};
use crate::object::{Metadata, Object};
use crate::resource::Resource;

/// What is known of a bucket.
#[derive(Clone, Debug, Default)]
pub(crate) enum Known {
    /// Nothing yet.
    #[default]
    Unread,
    /// There is no such object.
    Absent,
    /// It was read or written.
    Present(Arc<Present>),
}

/// A bucket at one version of its object.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) metadata: Metadata,
    pub(crate) version: ResourceVersion,
    pub(crate) head: Head,
    /// Somebody made the object immutable: it can be read and deleted, not written.
    pub(crate) is_immutable: bool,
}

impl Known {
    pub(crate) fn present(&self) -> Option<&Arc<Present>> {
        match self {
            Self::Present(present) => Some(present),
            Self::Absent | Self::Unread => None,
        }
    }

    /// The state to read from; a bucket that is not there is empty.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.present()
            .map(|present| present.head.snapshot().clone())
            .unwrap_or_default()
    }

    /// Whether a read that must see `revision` can be answered from here.
    pub(crate) fn has_reached(&self, revision: Revision) -> bool {
        self.present().is_some_and(|present| {
            present.head.snapshot().revision() >= revision || present.version.is_after(revision)
        })
    }

    /// Whether both are the same version of the same object.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (Self::Present(one), Self::Present(two)) => one.version == two.version,
            _ => false,
        }
    }
}

impl Present {
    /// A bucket as it will be made, before every version.
    pub(crate) fn empty(id: BucketId) -> Self {
        Self {
            metadata: Metadata::default(),
            version: ResourceVersion::ZERO,
            head: Head::create(id).0,
            is_immutable: false,
        }
    }

    /// Reads a bucket out of an object, which must be ours and whole. `describe` names it in
    /// errors; `known` is an earlier state, to apply only what is new.
    pub(crate) fn read(
        object: &Object,
        resource: Resource,
        describe: &str,
        known: Option<&Self>,
    ) -> Result<Self> {
        check_ours(&object.metadata, describe)?;
        let corrupt = |reason: String| Error::Corrupt {
            object: describe.to_owned(),
            reason,
        };
        if let Some(key) = object.unexpected_keys(resource).first() {
            return Err(corrupt(format!(
                "its data holds the key {key:?}, which is not ours"
            )));
        }
        let bytes = object.head(resource);
        let bytes = bytes.ok_or_else(|| corrupt("its data holds no readable head".to_owned()))?;
        let head = Head::decode(&bytes, known.map(|known| &known.head));
        Ok(Self {
            metadata: object.metadata.clone(),
            version: object.metadata.resource_version()?,
            head: head.map_err(|error| error.into_error(describe.to_owned()))?,
            is_immutable: object.is_immutable(),
        })
    }
}

/// Refuses an object that does not carry our label, whatever else it holds.
pub(crate) fn check_ours(metadata: &Metadata, describe: &str) -> Result<()> {
    if metadata.label(MANAGED_BY) == Some(MANAGER) {
        return Ok(());
    }
    let reason = format!("it lacks the label {MANAGED_BY}={MANAGER}");
    Err(Error::Foreign {
        object: describe.to_owned(),
        reason,
    })
}
