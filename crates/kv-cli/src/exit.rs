use std::error::Error as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use kv_core::{Error, Key};

/// Why a command failed. Its exit codes are listed in `kv --help`; scripts rely on them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store said so, and nothing was changed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The store cannot say whether a change was made.
    #[error(transparent)]
    Unknown(Error),
    #[error("key {0:?} does not exist")]
    NoSuchKey(Key),
    #[error("{0}")]
    Usage(String),
    #[error("{store} is damaged")]
    Damaged { store: String },
    #[error("the name was not given: nothing was removed")]
    Declined,
    #[error("the value has more than {limit} bytes, the most that any store takes")]
    ValueTooLarge { limit: usize },
    #[error("cannot read the value from {from}")]
    Input { from: String, source: io::Error },
    #[error("cannot write the output")]
    Output { source: io::Error },
    #[error("cannot create the directory {path:?}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("there is no way to the cluster")]
    Cluster {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the program could not start")]
    Runtime { source: io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Store(error) => code(error),
            Self::Usage(_) => 2,
            Self::NoSuchKey(_) => 3,
            Self::Unknown(_) => 6,
            Self::Damaged { .. } => 8,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// What to do next, where the message does not say it.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(Error::Conflict { .. } | Error::AlreadyExists { .. }) => {
                Some("`kv get KEY --output json` shows the revision; decide again with it")
            }
            Self::Store(Error::NotFound { what }) if what.starts_with("namespace ") => {
                Some("`kubectl create namespace` makes one; --store says which one is meant")
            }
            Self::Store(Error::NotFound { .. }) => {
                Some("`kv put` creates a bucket; --store says which one is meant")
            }
            Self::Store(Error::Unavailable { .. } | Error::Throttled { .. }) => {
                Some("nothing was changed; try again, or wait longer with --timeout")
            }
            Self::Store(Error::Forbidden { .. }) => {
                Some("ask whoever runs the store for the right to do it")
            }
            Self::Store(Error::Corrupt { object, .. })
                if object.starts_with("configmap ") || object.starts_with("secret ") =>
            {
                Some("`kv check` tells what is damaged, and what can still be read")
            }
            Self::Damaged { .. } => Some(
                "keep a copy of its objects before anything else; \
                 docs/operations.md says what to do then",
            ),
            Self::Cluster { .. } => Some("check the kubeconfig, --kubeconfig and --context"),
            _ => None,
        }
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::InvalidKey { .. } | Error::InvalidName { .. } | Error::ZeroTtl { .. } => 2,
        Error::NotFound { .. } => 3,
        Error::Conflict { .. } | Error::AlreadyExists { .. } | Error::BucketExists { .. } => 4,
        Error::Unavailable { .. } | Error::Throttled { .. } => 5,
        Error::Indeterminate { .. } => 6,
        Error::Forbidden { .. } => 7,
        _ => 1,
    }
}

/// Tells of a failure on standard error, and turns the outcome into an exit code.
pub(crate) fn report(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // As in `kv list | head`: the reader has seen enough.
        Err(Failure::Output { source }) if source.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // Where standard error is closed, the exit code has to do.
            let _ = io::stderr().lock().write_all(describe(&failure).as_bytes());
            ExitCode::from(failure.code())
        }
    }
}

fn describe(failure: &Failure) -> String {
    let mut last = failure.to_string();
    let mut text = format!("kv: {last}\n");
    let mut cause = failure.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some libraries repeat the cause in the message.
        if !last.contains(&message) {
            text.push_str(&format!("  caused by: {message}\n"));
        }
        last = message;
        cause = error.source();
    }
    if let Some(hint) = failure.hint() {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use kv_core::{Expected, Revision};

    fn store() -> String {
        "a store".to_owned()
    }

    #[test]
    fn each_code_of_the_help_is_given() {
        let key = Key::new("k").unwrap();
        let (reason, source) = (String::new(), None);
        let codes = [
            (1, Error::Closed { store: store() }),
            (
                2,
                Error::InvalidName {
                    name: store(),
                    reason: reason.clone(),
                },
            ),
            (3, Error::NotFound { what: store() }),
            (
                4,
                Error::AlreadyExists {
                    key: key.clone(),
                    actual: Revision::ZERO,
                },
            ),
            (
                4,
                Error::Conflict {
                    key: key.clone(),
                    expected: Expected::Exists,
                    actual: None,
                },
            ),
            (
                5,
                Error::Throttled {
                    store: store(),
                    retry_after: None,
                },
            ),
            (
                5,
                Error::Unavailable {
                    store: store(),
                    reason: reason.clone(),
                    source,
                },
            ),
            (
                6,
                Error::Indeterminate {
                    store: store(),
                    reason: reason.clone(),
                    source: None,
                },
            ),
            (
                7,
                Error::Forbidden {
                    store: store(),
                    reason,
                },
            ),
        ];
        for (code, error) in codes {
            assert_eq!(Failure::Store(error.clone()).code(), code, "{error}");
        }
        assert_eq!(Failure::NoSuchKey(key).code(), 3);
        let store = store();
        assert_eq!(Failure::Damaged { store }.code(), 8);
        assert_eq!(Failure::Interrupted.code(), 130);
    }

    #[test]
    fn a_failure_shows_its_causes_and_what_to_do() {
        let cause: Arc<dyn std::error::Error + Send + Sync> =
            Arc::new(io::Error::other("no route"));
        let failure = Failure::Store(Error::Unavailable {
            store: store(),
            reason: "no answer".to_owned(),
            source: Some(cause),
        });
        assert_eq!(
            describe(&failure),
            "kv: a store is unavailable: no answer\n  caused by: no route\n  \
             hint: nothing was changed; try again, or wait longer with --timeout\n"
        );
    }
}
