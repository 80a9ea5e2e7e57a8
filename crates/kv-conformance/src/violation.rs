use std::fmt;

use kv_core::Error;

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl Violation {
    /// Fails with the message unless the promise was kept.
    ///
    /// # Errors
    ///
    /// The promise was broken.
    pub fn unless(kept: bool, what: impl FnOnce() -> String) -> Result<(), Self> {
        if kept { Ok(()) } else { Err(Self(what())) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// Why something could not be checked, or what the check found.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A promise was broken.
    Violation(Violation),
    /// The store could not be read: try again when it can.
    Store(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
