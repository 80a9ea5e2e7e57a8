use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// A file whose writes are kept in memory until it is known to be ours.
///
/// redb writes as soon as it opens a database: it marks it as open, and repairs one that was not
/// closed. To look into a foreign database without changing a byte of it, these writes wait for
/// [`HeldBack::release`]; where it is not called, they are forgotten. Clones are one file.
#[derive(Clone, Debug)]
pub(crate) struct HeldBack(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: FileBackend,
    /// `None`: the file is ours, and writes go to it directly.
    held: RwLock<Option<Held>>,
}

struct Held {
    len: u64,
    changes: Vec<Change>,
}

enum Change {
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen(u64),
    /// Kept in order with the writes, so that a crash in the middle of a release is to redb a
    /// crash in the middle of its own writes.
    Sync,
}

impl HeldBack {
    pub(crate) fn new(file: File) -> Result<Self, redb::DatabaseError> {
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        let changes = Vec::new();
        Ok(Self(Arc::new(Shared {
            file,
            held: RwLock::new(Some(Held { len, changes })),
        })))
    }

    /// Writes what was held back, and holds back nothing from now on.
    pub(crate) fn release(&self) -> io::Result<()> {
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        for change in held.iter().flat_map(|held| &held.changes) {
            match change {
                Change::Write { offset, bytes } => self.0.file.write(*offset, bytes)?,
                Change::SetLen(len) => self.0.file.set_len(*len)?,
                Change::Sync => self.0.file.sync_data()?,
            }
        }
        *held = None;
        Ok(())
    }

    /// Remembers a change, or makes it where nothing is held back.
    fn change(
        &self,
        change: impl FnOnce() -> Change,
        make: impl FnOnce(&FileBackend) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.reading(|held| held.is_none()) {
            return make(&self.0.file);
        }
        let mut held = self.0.held.write().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            None => make(&self.0.file),
            Some(held) => {
                held.push(change());
                Ok(())
            }
        }
    }

    fn reading<T>(&self, read: impl FnOnce(Option<&Held>) -> T) -> T {
        let held = self.0.held.read().unwrap_or_else(PoisonError::into_inner);
        read(held.as_ref())
    }
}

impl Held {
    fn push(&mut self, change: Change) {
        match &change {
            Change::Write { offset, bytes } => self.len = self.len.max(offset + bytes.len() as u64),
            Change::SetLen(len) => self.len = *len,
            Change::Sync => {}
        }
        self.changes.push(change);
    }

    fn read(&self, file: &FileBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let on_disk = file.len()?.saturating_sub(offset).min(out.len() as u64);
        let (stored, beyond) = out.split_at_mut(usize::try_from(on_disk).unwrap_or(usize::MAX));
        file.read(offset, stored)?;
        beyond.fill(0);
        for change in &self.changes {
            change.show(offset, out);
        }
        Ok(())
    }
}

impl Change {
    /// Puts into `out`, which holds the bytes from `offset` on, what the change made of them.
    fn show(&self, offset: u64, out: &mut [u8]) {
        let end = offset + out.len() as u64;
        match self {
            Self::Write { offset: at, bytes } => {
                let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
                if from < to {
                    let length = (to - from) as usize;
                    let (source, target) = ((from - at) as usize, (from - offset) as usize);
                    out[target..target + length].copy_from_slice(&bytes[source..source + length]);
                }
            }
            Self::SetLen(len) if *len < end => out[len.saturating_sub(offset) as usize..].fill(0),
            Self::SetLen(_) | Self::Sync => {}
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} changes)", self.changes.len())
    }
}

impl StorageBackend for HeldBack {
    fn len(&self) -> io::Result<u64> {
        self.reading(|held| held.map_or_else(|| self.0.file.len(), |held| Ok(held.len)))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.reading(|held| match held {
            None => self.0.file.read(offset, out),
            Some(held) => held.read(&self.0.file, offset, out),
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|| Change::SetLen(len), |file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|| Change::Sync, FileBackend::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let bytes = || data.to_vec();
        self.change(
            || Change::Write {
                offset,
                bytes: bytes(),
            },
            |file| file.write(offset, data),
        )
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(content: &[u8]) -> (tempfile::NamedTempFile, HeldBack) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let backend = HeldBack::new(file.reopen().unwrap()).unwrap();
        (file, backend)
    }

    fn all(backend: &HeldBack) -> Vec<u8> {
        let mut out = vec![0xff; backend.len().unwrap() as usize];
        backend.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn held_changes_are_read_back_and_reach_the_file_only_when_released() {
        let (file, backend) = backend(b"abcdef");
        backend.write(4, b"XYZ").unwrap();
        backend.set_len(5).unwrap();
        backend.set_len(8).unwrap();
        backend.sync_data().unwrap();
        backend.write(1, b"-").unwrap();
        let expected = b"a-cdX\0\0\0";
        assert_eq!(all(&backend), expected);
        let mut middle = [0xff; 3];
        backend.read(3, &mut middle).unwrap();
        assert_eq!(&middle, b"dX\0");
        assert!(backend.read(6, &mut [0; 3]).is_err(), "past the end");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"abcdef");

        backend.release().unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), expected);
        backend.write(0, b"A").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap()[0], b'A');
    }
}
