use bytes::{BufMut, Bytes, BytesMut};
use kv_core::backend::{Effect, Stored};
use kv_core::{Key, Revision};
use prost::Message;

use super::proto;
use super::time::{from_millis, to_millis};
use super::{DecodeError, block};

/// The commits since the base, oldest first, each encoded once and for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    commits: Vec<(Revision, Bytes)>,
    raw_bytes: usize,
}

impl Tail {
    /// Adds a commit: what it changed, and the keys of expired entries that it reclaimed.
    pub(super) fn push<'a>(
        &mut self,
        revision: Revision,
        effects: &[Effect],
        reclaimed: impl IntoIterator<Item = &'a Key>,
    ) {
        let reclaimed = reclaimed.into_iter().map(|key| proto::Change {
            key: key.as_str().to_owned(),
            reclaimed: true,
            ..proto::Change::default()
        });
        let changes = reclaimed.chain(effects.iter().map(to_change)).collect();
        self.push_encoded(proto::Commit {
            revision: revision.get(),
            changes,
        });
    }

    fn push_encoded(&mut self, commit: proto::Commit) {
        let revision = Revision::new(commit.revision);
        // A message with one element: put one after the other, such messages are one message
        // with all elements.
        let encoded = Bytes::from(
            proto::Commits {
                commits: vec![commit],
            }
            .encode_to_vec(),
        );
        self.raw_bytes += encoded.len();
        self.commits.push((revision, encoded));
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    pub(super) fn compress(&self) -> Option<Bytes> {
        let mut raw = BytesMut::with_capacity(self.raw_bytes);
        for (_, encoded) in &self.commits {
            raw.put_slice(encoded);
        }
        block::compress(&raw)
    }

    /// Decodes a tail whose first commit comes after `base`, and what each commit did.
    pub(super) fn decode(stored: &Bytes, base: Revision) -> Result<(Self, Commits), DecodeError> {
        let (mut tail, mut decoded) = (Self::default(), Commits::new());
        let proto::Commits { commits } = block::decode(stored)?;
        for commit in commits {
            let revision = Revision::new(commit.revision);
            let after = decoded.last().map_or(base, |(last, _)| *last);
            if revision <= after {
                return Err(DecodeError::Content(format!(
                    "commit {revision} follows {after}"
                )));
            }
            let effects: Result<Vec<Effect>, _> = commit.changes.iter().map(to_effect).collect();
            decoded.push((revision, effects?));
            tail.push_encoded(commit);
        }
        Ok((tail, decoded))
    }

    /// How many of the commits are those of `earlier`, where it is the beginning of this tail.
    pub(super) fn continues(&self, earlier: &Self) -> Option<usize> {
        self.commits
            .starts_with(&earlier.commits)
            .then_some(earlier.commits.len())
    }
}

/// What each commit of a tail did.
pub(super) type Commits = Vec<(Revision, Vec<Effect>)>;

fn to_change(effect: &Effect) -> proto::Change {
    let stored = effect.stored.as_ref();
    proto::Change {
        key: effect.key.as_str().to_owned(),
        value: stored.map(|stored| stored.value.clone()),
        expires_at_ms: stored.and_then(|stored| stored.expires_at).map(to_millis),
        reclaimed: false,
    }
}

fn to_effect(change: &proto::Change) -> Result<Effect, DecodeError> {
    let key = Key::new(change.key.as_str());
    let key = key.map_err(|error| DecodeError::Content(error.to_string()))?;
    let expires_at = change.expires_at_ms.map(from_millis);
    let stored = change
        .value
        .clone()
        .map(|value| Stored { value, expires_at });
    Ok(Effect { key, stored })
}
