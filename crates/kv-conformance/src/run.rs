use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt;

use crate::{CASES, Case, Harness, Lack, report};

/// After this time a case has failed: a call of it hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs the case `name` of `group` on a harness of its own. Where the harness declares that it
/// lacks what the case needs, it asserts that lack instead, and returns it.
///
/// The tests made by [`suite!`](crate::suite) do this, and add to the report.
///
/// # Panics
///
/// As the case does, where it takes longer than five minutes, and where there is no such case.
pub fn run<H: Harness>(group: &str, name: &str) -> Option<Lack> {
    let case = find(group, name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let harness = H::new().await;
        let examination = tokio::time::timeout(DEADLINE, examine(case, &harness));
        let outcome = AssertUnwindSafe(examination).catch_unwind().await;
        harness.finish().await;
        match outcome {
            Ok(in_time) => in_time.unwrap_or_else(|_| panic!("not done after {DEADLINE:?}")),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// One test of [`suite!`](crate::suite).
#[doc(hidden)]
pub fn run_and_report<H: Harness>(group: &str, name: &str) {
    let lack = run::<H>(group, name);
    report::note(H::NAME, find(group, name), lack);
}

fn find(group: &str, name: &str) -> &'static Case {
    let mut cases = CASES.iter();
    let found = cases.find(|case| (case.group, case.name) == (group, name));
    found.unwrap_or_else(|| panic!("the suite has no case {group}::{name}"))
}

async fn examine<H: Harness>(case: &Case, harness: &H) -> Option<Lack> {
    let lack = case.needs.iter().find(|need| H::LACKS.contains(need));
    match lack {
        Some(lack) => lack.assert(harness).await,
        None => (case.body)(harness).await,
    }
    lack.copied()
}
