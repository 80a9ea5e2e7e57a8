/// The kinds of object that a bucket can live in. They have the same limits and the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    ConfigMap,
    Secret,
}

impl Resource {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// The name in URLs and in roles.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }

    /// The name in messages and for `kubectl`.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// The field that holds bytes in base64.
    pub(crate) fn data_field(self) -> &'static str {
        match self {
            Self::ConfigMap => "binaryData",
            Self::Secret => "data",
        }
    }
}
