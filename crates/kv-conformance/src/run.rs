use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt;

use crate::{CASES, Case, Harness, report};

/// After this time a case has failed: a call of it hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs the case `name` of `group` on a harness of its own, or asserts the lack of what it needs.
/// This is what the tests made by [`suite!`](crate::suite) do.
///
/// # Panics
///
/// As the case does, where it takes longer than five minutes, and where there is no such case.
pub fn run<H: Harness>(group: &str, name: &str) {
    let case = CASES
        .iter()
        .find(|case| (case.group, case.name) == (group, name))
        .unwrap_or_else(|| panic!("the suite has no case {group}::{name}"));
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
    });
}

async fn examine<H: Harness>(case: &Case, harness: &H) {
    let lack = case.needs.iter().find(|need| H::LACKS.contains(need));
    match lack {
        Some(lack) => lack.assert(harness).await,
        None => (case.body)(harness).await,
    }
    report::note(H::NAME, case, lack.copied());
}
