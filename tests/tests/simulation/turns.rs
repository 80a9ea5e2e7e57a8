//! Clients that make and remove one key in turns, so that each answer can be foretold although the
//! last change was made through another handle.

use kv_conformance::Violation;
use kv_conformance::workload::Step;
use kv_core::{Error, KvStore, KvStoreExt, Outcome};
use tokio::sync::Mutex;

#[derive(Default)]
pub(crate) struct Turns {
    turn: Mutex<Turn>,
}

/// Whose key it is, and whether it is there for sure.
#[derive(Clone, Copy, Default)]
struct Turn {
    number: u32,
    is_there: bool,
}

impl Turns {
    pub(crate) async fn step(&self, store: &dyn KvStore) -> Result<Step, Violation> {
        let mut turn = self.turn.lock().await;
        let now = *turn;
        // Should this process die, or the outcome be unknown, nobody uses the key again.
        *turn = Turn {
            number: now.number + 1,
            is_there: false,
        };
        let key = format!("turn/{}", now.number);
        let done = if now.is_there {
            store
                .delete(&*key)
                .await
                .and_then(|was_there| match was_there {
                    true => Ok(()),
                    false => Err(missing(&key)),
                })
        } else {
            store.create(&*key, "taken").await.map(drop)
        };
        match done {
            Ok(()) => {
                *turn = Turn {
                    is_there: !now.is_there,
                    ..now
                };
                Ok(Step::Done)
            }
            Err(error) if error.outcome() == Outcome::Unknown => Ok(Step::Unknown(error)),
            Err(error) => {
                *turn = now;
                Violation::unless(!is_verdict(&error), || {
                    format!("the last turn is not seen: {error}")
                })?;
                Ok(Step::Failed(error))
            }
        }
    }
}

fn missing(key: &str) -> Error {
    Error::NotFound {
        what: key.to_owned(),
    }
}

fn is_verdict(error: &Error) -> bool {
    error.is_conflict() || matches!(error, Error::NotFound { what } if what.starts_with("turn/"))
}
