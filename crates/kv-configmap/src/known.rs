use std::sync::Arc;

use kv_core::backend::Snapshot;
use kv_core::{Error, Result, Revision};

use crate::describe::{MANAGED_BY, MANAGER};
use crate::engine::{BucketId, Encoded, Head, History, ResourceVersion, Segments};
use crate::object::{HEAD_KEY, Metadata, Object};

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

    /// The last commit of the state to read from; `None`: nothing was read yet.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Unread => None,
            Self::Absent => Some(Revision::ZERO),
            Self::Present(present) => Some(present.head.revision()),
        }
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
}

/// An object that was read, and the head in it, whose segments have not been looked at.
pub(crate) struct Unassembled {
    pub(crate) metadata: Metadata,
    pub(crate) version: ResourceVersion,
    pub(crate) encoded: Encoded,
    is_immutable: bool,
}

impl Unassembled {
    /// Reads a head out of an object, which must be ours and whole. `describe` names it in errors.
    ///
    /// What its tail has in common with that of `known` need not be decoded again.
    pub(crate) fn read(object: &Object, describe: &str, known: Option<&Present>) -> Result<Self> {
        check_ours(&object.metadata, describe)?;
        let corrupt = |reason: String| Error::Corrupt {
            object: describe.to_owned(),
            reason,
        };
        if let Some(key) = object.unexpected_keys(HEAD_KEY).next() {
            return Err(corrupt(format!(
                "its data holds the key {key:?}, which is not ours"
            )));
        }
        let bytes = object.data(HEAD_KEY);
        let bytes = bytes.ok_or_else(|| corrupt("its data holds no readable head".to_owned()))?;
        let encoded = Encoded::read(bytes, known.map(|known| &known.head));
        Ok(Self {
            metadata: object.metadata.clone(),
            version: object.metadata.resource_version()?,
            encoded: encoded.map_err(|error| error.into_error(describe.to_owned()))?,
            is_immutable: object.is_immutable,
        })
    }

    /// The state, built on `known` where that is possible, with these segments.
    pub(crate) fn assemble(
        self,
        describe: &str,
        known: Option<&Present>,
        segments: &Segments,
    ) -> Result<(Present, History)> {
        let assembled = self
            .encoded
            .assemble(known.map(|known| &known.head), segments);
        let assembled = assembled.map_err(|error| error.into_error(describe.to_owned()));
        let (head, history) = assembled?;
        let present = Present {
            metadata: self.metadata,
            version: self.version,
            head,
            is_immutable: self.is_immutable,
        };
        Ok((present, history))
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
