use std::sync::Arc;

use kv_core::Result;
use kv_core::backend::Backoff;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::known::Known;
use crate::shared::Shared;
use crate::waiting::Waiting;

/// A read that must be as new as its call.
pub(crate) type Read = Waiting<(), Known>;

/// Serves reads: all that wait share one request, which starts after each of them was made.
pub(crate) async fn serve(shared: Arc<Shared>, mut reads: mpsc::Receiver<Read>, seed: u64) {
    let mut waiting = Vec::new();
    while let Some(read) = reads.recv().await {
        waiting.push(read);
        // Who was just answered comes again at once, as a rule, and shares this request, too.
        tokio::task::yield_now().await;
        while let Ok(read) = reads.try_recv() {
            waiting.push(read);
        }
        let answer = refresh_for(&shared, &waiting, seed).await;
        for read in waiting.drain(..) {
            read.answer(answer.clone());
        }
    }
}

/// Reads until it succeeds, until it cannot, or until nobody waits any more.
async fn refresh_for(shared: &Shared, waiting: &[Read], seed: u64) -> Result<Known> {
    let mut backoff = Backoff::new(seed);
    loop {
        let failure: Failure = match shared.refresh().await {
            Ok(known) => return Ok(known),
            Err(failure) => failure,
        };
        if !failure.is_transient() || !waiting.iter().any(Waiting::is_wanted) {
            return Err(failure.error);
        }
        for read in waiting {
            read.note(&failure.error);
        }
        tokio::time::sleep(failure.wait(&mut backoff)).await;
    }
}
