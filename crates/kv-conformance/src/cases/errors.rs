//! What an error says, and which move it tells.

use std::error::Error as _;

use kv_core::{Consistency, Error, GetOptions, Key, KvStore, KvStoreExt, OpenMode, Outcome};
use kv_core::{Result, Revision, Transaction};

use crate::Place;
use crate::support::{key, open, put, value_of};

/// Bytes that must not appear in any message.
const CANARY: &str = "canary-5309";

fn error_of<T>(result: Result<T>) -> Error {
    result.map(|_| ()).expect_err("the call must be refused")
}

/// One error of each kind that any store can be brought to.
async fn errors(h: &dyn Place) -> Vec<Error> {
    let missing = error_of(h.open(OpenMode::Open).await);
    let store = open(h).await;
    let exists = error_of(h.open(OpenMode::Create).await);
    put(&store, "k", CANARY).await;
    let large = [CANARY.as_bytes(), &vec![0; store.limits().value_bytes]].concat();
    let future = Consistency::AtLeast(Revision::new(u64::MAX));
    let unreached = store
        .get_opts(
            &key("k"),
            GetOptions {
                consistency: future,
            },
        )
        .await;
    vec![
        missing,
        exists,
        error_of(Key::new("")),
        error_of(store.create("k", CANARY).await),
        error_of(store.update("k", CANARY, Revision::ZERO).await),
        error_of(store.put("k", large).await),
        error_of(unreached),
    ]
}

/// Failed conditions are conflicts; nothing else is.
pub async fn only_failed_conditions_are_conflicts(h: &dyn Place) {
    for error in errors(h).await {
        let condition = matches!(error, Error::AlreadyExists { .. } | Error::Conflict { .. });
        assert_eq!(error.is_conflict(), condition, "{error:?}");
    }
}

/// What will fail again unchanged is not retryable; what is unavailable is.
pub async fn only_passing_failures_are_retryable(h: &dyn Place) {
    for error in errors(h).await {
        let passing = matches!(error, Error::Unavailable { .. } | Error::Throttled { .. });
        assert_eq!(error.is_retryable(), passing, "{error:?}");
    }
}

/// What is refused was not applied.
pub async fn a_refusal_was_not_applied(h: &dyn Place) {
    for error in errors(h).await {
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    }
}

/// The kinds of errors are told apart.
pub async fn kinds_are_told_apart(h: &dyn Place) {
    let errors = errors(h).await;
    assert!(
        matches!(
            &errors[..],
            [
                Error::NotFound { .. },
                Error::BucketExists { .. },
                Error::InvalidKey { .. },
                Error::AlreadyExists { .. },
                Error::Conflict { .. },
                Error::TooLarge { .. },
                Error::Unavailable { .. },
            ]
        ),
        "got {errors:?}"
    );
}

/// Neither a message nor `Debug` nor a cause shows a value.
pub async fn no_error_shows_a_value(h: &dyn Place) {
    for error in errors(h).await {
        let source = error.source().map(|source| format!("{source} {source:?}"));
        let text = format!("{error} {error:?} {}", source.unwrap_or_default());
        assert!(!text.contains(CANARY), "{text}");
    }
}

/// A message is one line in lower case, and does not repeat its cause.
pub async fn messages_keep_the_form(h: &dyn Place) {
    for error in errors(h).await {
        let text = error.to_string();
        assert!(
            !text.is_empty() && !text.contains('\n'),
            "{text:?} is one line"
        );
        assert!(
            !text.starts_with(char::is_uppercase),
            "{text:?} begins in lower case"
        );
        assert!(!text.ends_with('.'), "{text:?} can be a part of a sentence");
        if let Some(source) = error.source() {
            assert!(
                !text.contains(&source.to_string()),
                "{text:?} repeats its cause"
            );
        }
    }
}

/// The message of a failed condition names the key.
pub async fn a_conflict_names_its_key(h: &dyn Place) {
    let store = open(h).await;
    let name = "a/key\nwith a line";
    put(&store, name, "v").await;
    for result in [
        store.create(name, "w").await,
        store.update(name, "w", Revision::ZERO).await,
        store.delete_at(name, Revision::ZERO).await,
    ] {
        let text = error_of(result).to_string();
        assert!(text.contains(&format!("{name:?}")), "{text}");
    }
}

/// After an error the store is as usable as before.
pub async fn a_store_stays_usable_after_errors(h: &dyn Place) {
    drop(errors(h).await);
    let store = open(h).await;
    assert_eq!(
        value_of(&store, "k").await.unwrap(),
        CANARY,
        "no refused call wrote anything"
    );
    let change = Transaction::new()
        .require_exists(key("k"))
        .put(key("k"), "new");
    store.commit(change).await.expect("the next call succeeds");
}
