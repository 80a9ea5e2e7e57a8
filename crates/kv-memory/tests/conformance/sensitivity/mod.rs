//! Stores with planted bugs, each of which the suite must find: a check that finds no bug proves
//! nothing.

mod broken;
mod bugs;

use kv_conformance::run;

use broken::{Broken, Faithful};

/// For each bug a case that fails on it, with the sentence that it fails with, and that passes on
/// the same store without the bug.
macro_rules! found {
    ($($bug:ident by $group:ident::$case:ident: $sentence:literal,)*) => {$(
        mod $case {
            use super::*;

            #[test]
            #[should_panic(expected = $sentence)]
            fn fails_on_the_bug() {
                run::<Broken<bugs::$bug>>(stringify!($group), stringify!($case));
            }

            #[test]
            fn passes_without_it() {
                run::<Broken<Faithful>>(stringify!($group), stringify!($case));
            }
        }
    )*};
}

found! {
    EmptyForMissing by basics::missing_is_none: "a missing key is None",
    DeleteInMemoryOnly by basics::a_deleted_key_stays_gone_after_a_reopen: "never returns",
    UnchangedPutWrites by basics::an_unchanged_put_writes_nothing: "the revision is the bucket's",
    UnchangedPutWrites by watch::what_writes_nothing_is_not_told: "the next event is the next",
    RevisionsStartOver by buckets::revisions_grow_across_a_teardown: "after the teardown",
    StaleCache by reads::a_commit_is_seen_by_every_handle: "a get sees it",
    StaleCache by concurrency::histories_are_linearizable: "no order explains",
    LossyKeys by keys::cases_are_distinct: "every key is there",
    LossyKeys by keys::hostile_keys_are_all_distinct: "every key is there",
    PrefixIgnored by list::a_prefix_knows_no_separators: "the key that is the prefix",
    StartIncluded by list::start_after_is_exclusive: "",
    HiddenCap by list::no_hidden_cap: "no default bounds a list",
    PagesFromNow by list::pages_do_not_mix_snapshots: "one snapshot",
    ConditionsIgnored by conditions::update_at_a_stale_revision_is_a_conflict: "must be a conflict",
    ConditionsIgnored by concurrency::an_update_is_never_lost: "must be a conflict",
    ConditionsIgnored by concurrency::hand_made_increments_add_up: "",
    TornTransactions by transactions::all_operations_have_one_revision: "",
    TornTransactions by transactions::a_failed_condition_applies_nothing: "must leave every entry",
    TornTransactions by concurrency::transfers_keep_the_sum: "half a transfer",
    EventsTwice by watch::each_commit_is_told: "the next event is the next commit",
    EventsTwice by watch::a_watch_beside_writers_is_complete: "is told twice",
    EventsLost by watch::a_watch_can_be_resumed: "is not told",
    EventsTorn by watch::a_transaction_is_one_event: "",
}
