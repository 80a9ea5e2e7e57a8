use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_core::{Commit, Error, Result};
use tokio::sync::oneshot;

use crate::file::File;
use crate::write::Request;

/// How many transactions share one write to the disk.
const BATCH: usize = 256;

/// Transactions that wait to be written. The first to come leads: it writes for all who come
/// while it does, because a write to the disk costs the same for one and for many.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Whether there is a [`Leader`].
    led: bool,
}

#[derive(Debug)]
struct Waiting {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Commit>;

impl Queue {
    /// Adds one, and tells whether its caller has to lead.
    fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.state();
        state.waiting.push_back(waiting);
        !std::mem::replace(&mut state.led, true)
    }

    /// The next to be written together.
    fn take(&self) -> Vec<Waiting> {
        let mut state = self.state();
        let count = state.waiting.len().min(BATCH);
        state.waiting.drain(..count).collect()
    }

    /// Whether more wait for the leader. If not, there is no leader from now on.
    fn goes_on(&self) -> bool {
        let mut state = self.state();
        state.led = !state.waiting.is_empty();
        state.led
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a transaction written, together with others that wait. It is written also where the future
/// is dropped.
pub(crate) async fn commit(file: &Arc<File>, request: Request) -> Result<Commit> {
    let (answer, answered) = oneshot::channel();
    if file.queue.push(Waiting { request, answer }) {
        let leader = Leader {
            file: file.clone(),
            done: false,
        };
        tokio::task::spawn_blocking(move || leader.lead());
    }
    answered.await.unwrap_or_else(|_| {
        Err(Error::Closed {
            store: file.name.clone(),
        })
    })
}

/// The one who writes for all who wait.
struct Leader {
    file: Arc<File>,
    done: bool,
}

impl Leader {
    fn lead(mut self) {
        loop {
            let answers = self.write(self.file.queue.take());
            if !self.file.queue.goes_on() {
                self.done = true;
                // Before the answers: whoever then drops the last handle has closed the file.
                drop(self);
                return send(answers);
            }
            send(answers);
        }
    }

    fn write(&self, batch: Vec<Waiting>) -> Vec<(oneshot::Sender<Answer>, Answer)> {
        let (requests, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.request, waiting.answer))
            .unzip();
        // redb panics on some damage; whoever waits must hear of it all the same.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.file.write(&requests)))
            .unwrap_or_else(|_| Err(self.broke_down()));
        let results = outcome.unwrap_or_else(|error| vec![Err(error); answers.len()]);
        answers.into_iter().zip(results).collect()
    }

    fn broke_down(&self) -> Error {
        Error::Indeterminate {
            store: self.file.name.clone(),
            reason: "redb broke down while the transaction was written".to_owned(),
            source: None,
        }
    }
}

fn send(answers: Vec<(oneshot::Sender<Answer>, Answer)>) {
    for (sender, answer) in answers {
        // Whoever has dropped the future does not want to know.
        let _ = sender.send(answer);
    }
}

impl Drop for Leader {
    /// A runtime that shuts down drops tasks it has not begun. Those who wait then hear that the
    /// store is closed, and the next to come, from another runtime, leads.
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.file.queue.state();
            state.led = false;
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::UNIX_EPOCH;

    use kv_core::{Consistency, Key, Outcome, Transaction};
    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use crate::create::lay_out;
    use crate::open::settings;

    /// A disk on which `fsync` fails as soon as it is told to.
    #[derive(Debug)]
    struct Disk {
        memory: InMemoryBackend,
        broken: Arc<AtomicBool>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(io::Error::other("the disk is broken"));
            }
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.memory.write(offset, data)
        }
    }

    fn file_on_a_disk() -> (Arc<File>, Arc<AtomicBool>) {
        let broken = Arc::new(AtomicBool::new(false));
        let disk = Disk {
            memory: InMemoryBackend::new(),
            broken: broken.clone(),
        };
        let database = settings().create_with_backend(disk).unwrap();
        lay_out(&database).unwrap();
        let file = File::new("a file".to_owned(), database, None);
        (Arc::new(file), broken)
    }

    fn put(key: &str) -> Request {
        let key = Key::new(key).unwrap();
        Request {
            transaction: Transaction::new().require_absent(&key).put(key, "v"),
            now: UNIX_EPOCH,
            bucket_bytes: None,
        }
    }

    /// Two that are written together.
    async fn put_both(file: &Arc<File>, keys: [&str; 2]) -> [Result<Commit>; 2] {
        let (answer, second) = oneshot::channel();
        let request = put(keys[1]);
        file.queue
            .state()
            .waiting
            .push_back(Waiting { request, answer });
        let first = commit(file, put(keys[0])).await;
        [first, second.await.unwrap()]
    }

    #[tokio::test]
    async fn when_the_disk_fails_nobody_who_waited_gets_a_guess() {
        let (file, broken) = file_on_a_disk();
        let both = put_both(&file, ["a", "a"]).await;
        assert!(matches!(both, [Err(Error::AlreadyExists { .. }), Ok(_)]));
        broken.store(true, Ordering::SeqCst);
        // The second one would fail if the first were applied, and nobody knows whether it is.
        for result in put_both(&file, ["b", "b"]).await {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
        for result in put_both(&file, ["c", "d"]).await {
            assert!(matches!(result, Err(Error::Closed { .. })), "{result:?}");
        }
        let key = Key::new("a").unwrap();
        let read = file.get(&key, UNIX_EPOCH, Consistency::Linearizable);
        assert!(!matches!(read, Ok(None)), "{read:?}");
    }

    #[tokio::test]
    async fn a_leader_that_never_gets_to_run_leaves_the_queue_to_the_next() {
        let (file, _) = file_on_a_disk();
        let (answer, answered) = oneshot::channel();
        let request = put("a");
        assert!(file.queue.push(Waiting { request, answer }));
        drop(Leader {
            file: file.clone(),
            done: false,
        });
        assert!(answered.await.is_err());
        assert!(commit(&file, put("a")).await.is_ok());
    }
}
