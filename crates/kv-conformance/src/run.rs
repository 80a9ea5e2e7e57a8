use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt;

use crate::{Harness, Lack, report};

/// After this time a case has failed: a call of it hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs one case on a harness of its own, or asserts the lack of what it needs. This is what the
/// tests made by [`suite!`](crate::suite) do.
///
/// # Panics
///
/// As the case does, and where it takes longer than five minutes.
pub fn run<H: Harness>(name: &str, needs: &[Lack], case: impl AsyncFnOnce(&H)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let harness = H::new().await;
        let lack = needs.iter().find(|need| H::LACKS.contains(need)).copied();
        let examination = async {
            match lack {
                Some(lack) => lack.assert(&harness).await,
                None => case(&harness).await,
            }
        };
        let examination = tokio::time::timeout(DEADLINE, examination);
        let outcome = AssertUnwindSafe(examination).catch_unwind().await;
        harness.finish().await;
        match outcome {
            Ok(in_time) => in_time.unwrap_or_else(|_| panic!("not done after {DEADLINE:?}")),
            Err(panic) => resume_unwind(panic),
        }
        report::note(H::NAME, name, lack);
    });
}
