//! What a client may rely on, as cases that run on this server and on a real one.
//!
//! Each case takes a client and a namespace of its own, and panics when the server behaves
//! otherwise. A case that holds on both servers is a rule that the fake does not make up.
//!
//! [`contract_cases!`](crate::contract_cases) is the one list of them: it makes the functions in
//! [`cases`], and a test file makes a named test of each with a macro of its own.
//!
//! # Example
//!
//! ```
//! use kv_fake_apiserver::{FakeApiServer, contract};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = FakeApiServer::new();
//! contract::cases::an_unchanged_put_keeps_the_version(server.client(), "default").await;
//! # }
//! ```

mod api;
mod create;
mod delete;
mod late_kind;
mod list;
mod metadata;
mod namespace;
mod patch;
mod protobuf;
mod put;
mod secret;
mod validation;
mod version;
mod watch;

/// Calls a macro with the list of all cases, as `module::name,` each.
///
/// # Example
///
/// ```
/// macro_rules! names {
///     ($($module:ident::$case:ident,)*) => { [$(stringify!($case)),*] };
/// }
/// let names = kv_fake_apiserver::contract_cases!(names);
/// assert!(names.len() >= 40);
/// ```
#[macro_export]
macro_rules! contract_cases {
    ($with:ident) => {
        $with! {
            create::a_create_answers_with_version_uid_and_time,
            create::an_existing_name_is_already_exists,
            create::a_version_must_not_be_set,
            create::a_name_is_generated,
            create::a_missing_namespace_is_named,
            create::the_namespace_of_the_body_must_fit,
            create::a_body_of_another_kind_is_bad,
            create::broken_json_is_bad,
            create::values_of_a_wrong_type_are_bad,
            create::invalid_base64_is_bad,
            create::unknown_fields_are_dropped_or_strictly_refused,
            create::a_dry_run_creates_nothing,
            create::a_body_over_three_mebibytes_is_too_large,
            put::a_put_replaces_everything,
            put::a_put_of_a_missing_object_is_not_found,
            put::a_put_without_a_version_is_unconditional,
            put::a_put_with_an_old_version_is_a_conflict,
            put::a_put_with_a_foreign_uid_is_a_conflict,
            put::a_put_needs_the_name_of_the_url,
            patch::a_merge_patch_changes_only_what_it_names,
            patch::a_patch_with_an_old_version_is_a_conflict,
            patch::a_patch_with_an_old_version_is_a_conflict_even_if_nothing_would_change,
            patch::a_patch_with_a_foreign_uid_is_invalid,
            patch::a_patch_of_a_missing_object_is_not_found,
            patch::a_patch_that_makes_no_object_is_invalid,
            patch::a_patch_of_an_unknown_type_is_unsupported,
            patch::a_broken_patch_is_bad,
            patch::a_strategic_patch_merges_maps_and_owners,
            patch::a_dry_run_patches_nothing,
            delete::a_delete_answers_with_details,
            delete::a_delete_of_a_missing_object_is_not_found,
            delete::a_delete_with_a_foreign_uid_is_a_conflict,
            delete::a_delete_with_an_old_version_is_a_conflict,
            delete::a_delete_with_fitting_preconditions_succeeds,
            delete::finalizers_hold_an_object,
            delete::a_collection_is_deleted_by_label,
            version::versions_grow_over_all_objects,
            version::an_unchanged_put_keeps_the_version,
            version::an_unchanged_patch_keeps_the_version,
            version::a_version_never_returns,
            version::a_get_at_a_version_is_at_least_as_new,
            version::a_version_of_the_future_is_a_timeout,
            version::a_version_that_is_no_number_is_an_error,
            validation::names_are_subdomains,
            validation::keys_are_plain_and_short,
            validation::a_key_is_in_one_of_the_two_maps,
            validation::values_may_take_a_mebibyte_together,
            validation::keys_and_base64_do_not_count,
            validation::annotations_may_take_a_quarter_of_a_mebibyte,
            validation::labels_are_short_and_plain,
            validation::an_immutable_object_keeps_its_data,
            validation::an_immutable_object_changes_its_metadata_and_goes,
            validation::owners_and_finalizers_are_checked,
            metadata::a_create_adds_managed_fields,
            metadata::a_reset_of_managed_fields_lasts,
            metadata::an_empty_list_resets_managed_fields_too,
            metadata::a_changed_field_changes_hands,
            metadata::every_verb_answers_with_metadata_only,
            metadata::a_list_of_metadata_has_a_form_of_its_own,
            metadata::an_empty_list_of_metadata_has_null_items,
            protobuf::an_object_is_the_same_in_protobuf,
            protobuf::an_object_is_replaced_in_protobuf,
            protobuf::lists_and_refusals_come_in_protobuf_too,
            protobuf::an_object_that_waits_for_its_finalizers_says_so_in_protobuf,
            protobuf::metadata_alone_comes_in_protobuf_too,
            protobuf::a_watch_is_the_same_in_protobuf,
            protobuf::what_is_no_protobuf_is_bad,
            list::a_list_has_a_version_and_items_without_kind,
            list::labels_select_by_equality_and_sets,
            list::fields_select_by_name,
            list::broken_selectors_are_bad,
            list::pages_show_one_moment,
            list::a_broken_continue_token_is_bad,
            list::a_list_is_read_at_an_exact_version,
            list::a_missing_namespace_is_empty,
            watch::a_watch_gets_every_change_after_its_version,
            watch::a_watch_without_a_version_begins_with_what_is_there,
            watch::a_deletion_carries_its_own_version,
            watch::an_object_that_stops_matching_arrives_as_deleted,
            watch::a_watch_of_one_name_is_not_told_of_others,
            watch::a_watch_of_metadata_carries_no_data,
            watch::a_version_too_old_is_an_error_event,
            watch::bookmarks_come_before_the_end,
            watch::initial_events_end_with_a_bookmark,
            watch::an_unchanged_write_is_not_told,
            namespace::a_terminating_namespace_takes_nothing_new,
            namespace::objects_of_a_missing_namespace_are_not_found,
            namespace::a_namespace_carries_its_name_as_a_label,
            secret::string_data_becomes_data,
            secret::the_type_of_a_secret_stays,
            secret::a_secret_may_take_a_mebibyte,
            secret::an_immutable_secret_keeps_its_data,
        }
    };
}

macro_rules! define {
    ($($module:ident::$case:ident,)*) => {
        /// The cases, one function each.
        pub mod cases {
            use kube::Client;

            use super::api::Api;

            $(
                #[doc = concat!("The case `", stringify!($case), "` of `", stringify!($module), "`.")]
                ///
                /// # Panics
                ///
                /// When the server does not keep the rule.
                pub async fn $case(client: Client, namespace: &str) {
                    super::$module::$case(&Api::new(client, namespace)).await;
                }
            )*
        }
    };
}

contract_cases!(define);
