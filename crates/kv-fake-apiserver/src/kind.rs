//! The kinds of objects that the server keeps.

use std::fmt;

/// A kind of object of the core API group.
///
/// # Example
///
/// ```
/// use kv_fake_apiserver::Kind;
///
/// assert_eq!(Kind::ConfigMap.plural(), "configmaps");
/// assert!(!Kind::Namespace.is_namespaced());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `namespaces`, the only kind that does not live in a namespace.
    Namespace,
    /// `configmaps`.
    ConfigMap,
    /// `secrets`.
    Secret,
}

impl Kind {
    /// Every kind the server knows.
    pub const ALL: [Kind; 3] = [Kind::Namespace, Kind::ConfigMap, Kind::Secret];

    /// The name in an object's `kind` field.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        }
    }

    /// The name in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Namespace => "namespaces",
            Kind::ConfigMap => "configmaps",
            Kind::Secret => "secrets",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self != Kind::Namespace
    }

    pub(crate) fn from_plural(plural: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.plural() == plural)
    }

    pub(crate) fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
