use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::file::File;

/// The files that this process has open, by canonical path: redb opens a file only once.
static OPEN: LazyLock<Registry> = LazyLock::new(Registry::default);

#[derive(Default)]
struct Registry {
    /// A file that is not there any more is being opened or closed at this moment.
    files: Mutex<HashMap<PathBuf, Weak<File>>>,
    changed: Condvar,
}

impl Registry {
    fn files(&self) -> MutexGuard<'_, HashMap<PathBuf, Weak<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of its holder to have the file open. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration(PathBuf);

/// What [`register`] finds.
pub(crate) enum Registered {
    /// The file is open.
    Open(Arc<File>),
    /// It is not, and nobody else of this process opens it while this is held.
    Reserved(Registration),
}

/// The open file of that canonical path, or the right to open it. Waits for those who are opening
/// or closing it.
pub(crate) fn register(path: &Path) -> Registered {
    let mut files = OPEN.files();
    loop {
        match files.get(path).map(Weak::upgrade) {
            Some(Some(file)) => return Registered::Open(file),
            Some(None) => {
                files = OPEN
                    .changed
                    .wait(files)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            None => {
                files.insert(path.to_owned(), Weak::new());
                return Registered::Reserved(Registration(path.to_owned()));
            }
        }
    }
}

impl Registration {
    /// Lets others of this process share `file`, which holds this registration.
    pub(crate) fn publish(file: &Arc<File>, path: &Path) {
        OPEN.files().insert(path.to_owned(), Arc::downgrade(file));
        OPEN.changed.notify_all();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        OPEN.files().remove(&self.0);
        OPEN.changed.notify_all();
    }
}
