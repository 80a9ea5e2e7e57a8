use std::collections::BTreeSet;

use futures::future::BoxFuture;

use crate::{Lack, Place, cases};

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The module it is in.
    pub group: &'static str,
    /// The function.
    pub name: &'static str,
    /// The abilities it is about: where one is declared as lacking, the lack is asserted instead.
    pub needs: &'static [Lack],
    pub(crate) body: fn(&dyn Place) -> BoxFuture<'_, ()>,
}

/// Makes of the list of all cases what the functions of this file need.
macro_rules! listed {
    ([] $($group:ident { $($case:ident $([$($need:ident),+])?,)* })*) => {
        /// All cases of the suite.
        pub const CASES: &[Case] = &[
            $($(Case {
                group: stringify!($group),
                name: stringify!($case),
                needs: &[$($(Lack::$need),+)?],
                body: |place| Box::pin(cases::$group::$case(place)),
            }),*),*
        ];

        /// Each group with the source of its cases.
        const SOURCES: &[(&str, &str)] = &[
            $((stringify!($group), include_str!(concat!("cases/", stringify!($group), ".rs")))),*
        ];
    };
}

crate::__cases! { (listed) [] }

/// Asserts that the functions that exist are the cases that [`suite!`](crate::suite) runs, so
/// that none can be written and forgotten.
///
/// # Panics
///
/// Where a case is not listed.
pub fn assert_every_case_is_listed() {
    let listed: BTreeSet<String> = CASES
        .iter()
        .map(|case| format!("{}::{}", case.group, case.name))
        .collect();
    let written: BTreeSet<String> = SOURCES
        .iter()
        .flat_map(|(group, source)| functions(source).map(move |name| format!("{group}::{name}")))
        .collect();
    let forgotten: Vec<&String> = written.symmetric_difference(&listed).collect();
    assert!(
        forgotten.is_empty(),
        "not in the list of the suite: {forgotten:?}"
    );
    let groups: BTreeSet<&str> = modules(include_str!("cases/mod.rs")).collect();
    let listed: BTreeSet<&str> = SOURCES.iter().map(|(group, _)| *group).collect();
    assert_eq!(
        groups, listed,
        "every module of cases is a group of the suite"
    );
}

fn functions(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("pub async fn "))
        .filter_map(|rest| rest.split(['<', '(']).next())
}

fn modules(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_listed() {
        assert_every_case_is_listed();
    }

    #[test]
    fn every_file_is_a_module() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cases");
        let files = std::fs::read_dir(directory).unwrap().count();
        let modules = modules(include_str!("cases/mod.rs")).count();
        assert_eq!(files, modules + 1, "one file for each group, and mod.rs");
    }

    #[test]
    fn a_forgotten_case_would_be_found() {
        let source = "/// A page.\npub async fn new_case(h: &dyn Place) {}\nasync fn help() {}";
        assert_eq!(functions(source).collect::<Vec<_>>(), ["new_case"]);
    }
}
