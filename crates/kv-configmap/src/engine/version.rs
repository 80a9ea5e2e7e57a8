use std::fmt;
use std::str::FromStr;

use kv_core::{Error, Result, Revision};

/// How many commits of one batch get a revision of their own above the object's version.
const REVISION_SHIFT: u32 = 16;

/// The version of the head object, as a number: comparable within a resource type since
/// Kubernetes 1.35, and in practice before.
///
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceVersion(u64);

impl ResourceVersion {
    /// Before every object.
    pub(crate) const ZERO: Self = Self(0);

    /// The revision of the first commit in a batch that is written over this version.
    ///
    /// The version only ever grows, also when the bucket is deleted and made again, and with it
    /// the revision, so that a revision never comes back.
    pub(crate) fn next_revision(self, last: Revision) -> Result<Revision> {
        let shifted = self
            .0
            .checked_shl(REVISION_SHIFT)
            .filter(|shifted| shifted >> REVISION_SHIFT == self.0)
            .ok_or_else(|| unusable(&self.to_string()))?;
        // A head that was made by hand can hold any revision; a batch needs room above it.
        let room = last.get().checked_add(1 << REVISION_SHIFT);
        room.ok_or_else(|| unusable(&self.to_string()))?;
        Ok(Revision::new(shifted.max(last.get() + 1)))
    }
}

impl ResourceVersion {
    /// Whether an object of this version contains, or has outlived, the commit `revision`: that
    /// was written over a version below this one.
    pub(crate) fn is_after(self, revision: Revision) -> bool {
        self.0 > revision.get() >> REVISION_SHIFT
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for ResourceVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| unusable(text))
    }
}

fn unusable(text: &str) -> Error {
    Error::Unsupported {
        store: "kv-configmap".to_owned(),
        what: format!("the resource version {text:?}: it must be a number below 2^48"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_follow_the_version_and_never_fall_behind_the_last_one() {
        let version: ResourceVersion = "41".parse().unwrap();
        assert_eq!(
            version.next_revision(Revision::ZERO).unwrap().get(),
            41 << 16
        );
        let last = Revision::new((41 << 16) + 70_000);
        assert_eq!(version.next_revision(last).unwrap().get(), last.get() + 1);
    }

    #[test]
    fn a_version_that_is_no_number_is_a_typed_error() {
        for text in ["", "v1", "-1", "+1", "1.5", "99999999999999999999"] {
            let parsed: Result<ResourceVersion> = text.parse();
            assert!(matches!(parsed, Err(Error::Unsupported { .. })), "{text}");
        }
        let highest: ResourceVersion = ((1_u64 << 48) - 1).to_string().parse().unwrap();
        assert!(highest.next_revision(Revision::ZERO).is_ok());
        let end = Revision::new(u64::MAX);
        assert!(matches!(
            highest.next_revision(end),
            Err(Error::Unsupported { .. })
        ));
        let over: ResourceVersion = (1_u64 << 48).to_string().parse().unwrap();
        assert!(matches!(
            over.next_revision(Revision::ZERO),
            Err(Error::Unsupported { .. })
        ));
    }
}
