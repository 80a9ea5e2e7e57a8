//! What clients begin, and how it ends: in memory, and in a file that outlives a client.
//!
//! A [`Journal`] notes an [`Attempt`] before it is made, and its result afterwards. What has no
//! result has an unknown outcome: the call was never answered, or its client was killed. The
//! journals of several processes are read together with [`read`]; give each process a client
//! number of its own, also one that is started anew, and all of them [`machine_nanos`] as their
//! clock.
//!
//! A file has one JSON object on each line: `{"begin":{"id":…,"at":…,"what":…}}` and
//! `{"end":{"id":…,"at":…,"result":…}}`.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Something that a client began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<B, E> {
    /// A number that no other attempt has, of any client.
    pub id: u64,
    /// What it was to do.
    pub what: B,
    /// When it began.
    pub began: u64,
    /// When it ended, and how; `None`: its outcome is unknown.
    pub end: Option<End<E>>,
}

/// How an [`Attempt`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End<E> {
    /// When.
    pub at: u64,
    /// With what.
    pub result: E,
}

impl<B, E> Attempt<B, E> {
    /// The number of the client.
    #[must_use]
    pub fn client(&self) -> u64 {
        self.id >> CLIENT_SHIFT
    }
}

/// Bits of an id that count the attempts of one client.
const CLIENT_SHIFT: u32 = 32;

/// Notes the attempts of one client, or of several in one process.
pub struct Journal<B, E> {
    client: u64,
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    notes: Mutex<Notes<B, E>>,
}

struct Notes<B, E> {
    attempts: Vec<Attempt<B, E>>,
    file: Option<Box<dyn Write + Send>>,
}

impl<B: Serialize, E: Serialize> Journal<B, E> {
    /// A journal in memory, whose clock counts what is noted.
    #[must_use]
    pub fn new() -> Self {
        let ticks = AtomicU64::new(0);
        Self::of_client(0, move || ticks.fetch_add(1, Ordering::SeqCst))
    }

    /// The journal of one of several clients, on a clock that all of them share. Two equal times
    /// count as at the same time.
    ///
    /// # Panics
    ///
    /// Where the number has more than 32 bits.
    #[must_use]
    pub fn of_client(client: u64, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        assert!(
            client >> CLIENT_SHIFT == 0,
            "client {client} has over 32 bits"
        );
        let notes = Notes {
            attempts: Vec::new(),
            file: None,
        };
        Self {
            client,
            clock: Box::new(clock),
            notes: Mutex::new(notes),
        }
    }

    /// Writes each note into `file` at once, so that it is there though the process is killed.
    #[must_use]
    pub fn with_file(self, file: impl Write + Send + 'static) -> Self {
        self.notes().file = Some(Box::new(file));
        self
    }

    /// What the clock shows.
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Notes an attempt that is about to be made, and returns its id.
    ///
    /// # Panics
    ///
    /// Where the file cannot be written.
    pub fn begin(&self, what: B) -> u64 {
        let mut notes = self.notes();
        let (id, at) = (self.id(notes.attempts.len()), self.now());
        let what = notes.write(Line::<B, E>::Begin { id, at, what });
        if let Line::Begin { id, at, what } = what {
            notes.attempts.push(Attempt {
                id,
                what,
                began: at,
                end: None,
            });
        }
        id
    }

    /// Notes the known result of an attempt.
    ///
    /// # Panics
    ///
    /// Where the attempt is not of this journal, and where the file cannot be written.
    pub fn end(&self, id: u64, result: E) {
        let at = self.now();
        let mut notes = self.notes();
        let line = notes.write(Line::<B, E>::End { id, at, result });
        let number = usize::try_from(id - self.id(0)).ok();
        let attempt = number.and_then(|number| notes.attempts.get_mut(number));
        let attempt = attempt.expect("the attempt was begun in this journal");
        if let Line::End { at, result, .. } = line {
            attempt.end = Some(End { at, result });
        }
    }

    /// Whether an attempt with this id is of the client of this journal.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        id >> CLIENT_SHIFT == self.client
    }

    /// Shows the attempts so far to `read`.
    pub fn with<T>(&self, read: impl FnOnce(&[Attempt<B, E>]) -> T) -> T {
        read(&self.notes().attempts)
    }

    /// The attempts.
    #[must_use]
    pub fn into_attempts(self) -> Vec<Attempt<B, E>> {
        let notes = self.notes.into_inner();
        notes.unwrap_or_else(PoisonError::into_inner).attempts
    }

    fn id(&self, number: usize) -> u64 {
        (self.client << CLIENT_SHIFT) + number as u64
    }

    fn notes(&self) -> MutexGuard<'_, Notes<B, E>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Serialize, E: Serialize> Notes<B, E> {
    fn write(&mut self, line: Line<B, E>) -> Line<B, E> {
        if let Some(file) = &mut self.file {
            let mut text = serde_json::to_vec(&line).expect("a note becomes JSON");
            text.push(b'\n');
            let written = file.write_all(&text).and_then(|()| file.flush());
            written.expect("the journal can be written");
        }
        line
    }
}

impl<B: Serialize, E: Serialize> Default for Journal<B, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B, E> fmt::Debug for Journal<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<B, E> {
    Begin { id: u64, at: u64, what: B },
    End { id: u64, at: u64, result: E },
}

/// Reads the journals of several clients as one, in the order in which the attempts began.
///
/// The last line of a journal may be cut off, as that of a client that was killed.
///
/// # Errors
///
/// The failures of the readers, and a line that is not one of a journal.
pub fn read<B: DeserializeOwned, E: DeserializeOwned>(
    journals: impl IntoIterator<Item = impl BufRead>,
) -> io::Result<Vec<Attempt<B, E>>> {
    let mut attempts = Vec::new();
    for (number, journal) in journals.into_iter().enumerate() {
        let damaged = |why: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("journal {number}: {why}"),
            )
        };
        read_one(journal, &mut attempts, damaged)?;
    }
    attempts.sort_by_key(|attempt| (attempt.began, attempt.id));
    Ok(attempts)
}

fn read_one<B: DeserializeOwned, E: DeserializeOwned>(
    mut journal: impl BufRead,
    attempts: &mut Vec<Attempt<B, E>>,
    damaged: impl Fn(String) -> io::Error,
) -> io::Result<()> {
    let mut places = HashMap::new();
    let mut text = Vec::new();
    while journal.read_until(b'\n', &mut text)? > 0 && text.ends_with(b"\n") {
        let line: Line<B, E> =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        match line {
            Line::Begin { id, at, what } => {
                places.insert(id, attempts.len());
                attempts.push(Attempt {
                    id,
                    what,
                    began: at,
                    end: None,
                });
            }
            Line::End { id, at, result } => {
                let place = places.get(&id).copied();
                let place = place.ok_or_else(|| damaged(format!("{id} ends and never began")))?;
                attempts[place].end = Some(End { at, result });
            }
        }
        text.clear();
    }
    Ok(())
}

/// The nanoseconds of a clock that never goes back and that all processes of this machine share.
#[cfg(unix)]
#[must_use]
pub fn machine_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct File(Arc<Mutex<Vec<u8>>>);

    impl Write for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl File {
        fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    fn read_back(files: &[Vec<u8>]) -> io::Result<Vec<Attempt<String, bool>>> {
        read(files.iter().map(Vec::as_slice))
    }

    #[test]
    fn journals_of_several_clients_are_read_as_one() {
        let time = Arc::new(AtomicU64::new(0));
        let journal = |client, file: &File| {
            let time = time.clone();
            let clock = move || time.fetch_add(1, Ordering::SeqCst);
            Journal::<String, bool>::of_client(client, clock).with_file(file.clone())
        };
        let files = [File::default(), File::default()];
        let (one, two) = (journal(1, &files[0]), journal(2, &files[1]));
        let a = one.begin("a".to_owned());
        let b = two.begin("b".to_owned());
        let c = one.begin("c".to_owned());
        two.end(b, false);
        one.end(a, true);
        let read = read_back(&files.map(|file| file.bytes())).unwrap();
        let (mut expected, two) = (one.into_attempts(), two.into_attempts());
        expected.insert(1, two[0].clone());
        assert_eq!(read, expected);
        let order: Vec<(u64, u64)> = read.iter().map(|a| (a.client(), a.began)).collect();
        assert_eq!(order, [(1, 0), (2, 1), (1, 2)]);
        assert_eq!((c, &read[2].end), (read[2].id, &None));
    }

    #[test]
    fn only_the_last_line_may_be_cut_off() {
        let file = File::default();
        let journal = Journal::<String, bool>::new().with_file(file.clone());
        let id = journal.begin("a".to_owned());
        journal.end(id, true);
        let whole = file.bytes();
        let cut = whole[..whole.len() - 3].to_vec();
        assert_eq!(read_back(&[cut]).unwrap()[0].end, None);
        let damaged = [&whole[..10], b"\n", &whole[..]].concat();
        assert!(read_back(&[damaged]).is_err());
        let headless = whole.split_inclusive(|byte| *byte == b'\n').nth(1);
        let error = read_back(&[headless.unwrap().to_vec()]).unwrap_err();
        assert_eq!(error.to_string(), "journal 0: 0 ends and never began");
    }

    #[cfg(unix)]
    #[test]
    fn the_clock_of_the_machine_goes_forward() {
        let before = machine_nanos();
        assert!(before > 0 && machine_nanos() >= before);
    }
}
