use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use kv_core::{
    Commit, Consistency, Entry, Error, Key, ListOptions, Listing, OpenMode, Result, Revision,
};
use redb::Database;

use crate::failure;
use crate::open;
use crate::queue::Queue;
use crate::read::Snapshot;
use crate::registry::{Registered, Registration, register};
use crate::snapshots::Snapshots;
use crate::tables::{ENTRIES, EXPIRIES, Meta};
use crate::watch::History;
use crate::write::{Request, Writer};

/// A file that is open: what all handles of this process share. Every method blocks.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) queue: Queue,
    pub(crate) history: History,
    snapshots: Snapshots,
    /// Locked for writing only to compact the file.
    database: RwLock<Database>,
    /// Declared last: given back when the database is closed.
    _registration: Option<Registration>,
}

impl File {
    /// Opens the file, creates it, or shares it with a handle that has it open.
    pub(crate) fn open(path: &Path, mode: OpenMode) -> Result<Arc<Self>> {
        let name = open::name(path);
        let canonical = open::canonical(path).map_err(|error| failure::io(&name, error))?;
        let file = match register(&canonical) {
            Registered::Open(file) => file,
            Registered::Reserved(registration) => {
                let database = open::database(&canonical, &name, mode)?;
                let file = Arc::new(Self::new(name, database, Some(registration)));
                file.history.published().begin(file.newest()?.revision());
                Registration::publish(&file, &canonical);
                file
            }
        };
        file.bucket(mode)?;
        Ok(file)
    }

    pub(crate) fn new(
        name: String,
        database: Database,
        registration: Option<Registration>,
    ) -> Self {
        Self {
            name,
            queue: Queue::default(),
            history: History::default(),
            snapshots: Snapshots::default(),
            database: RwLock::new(database),
            _registration: registration,
        }
    }

    /// Finds or makes the bucket in the file, as `mode` says.
    fn bucket(&self, mode: OpenMode) -> Result<()> {
        let exists = self.newest()?.meta.exists;
        match (mode, exists) {
            (OpenMode::Open | OpenMode::OpenOrCreate, true) => Ok(()),
            (OpenMode::Open, false) => Err(Error::NotFound {
                what: format!("the bucket in {}", self.name),
            }),
            (OpenMode::Create | OpenMode::OpenOrCreate, _) => {
                let existed = self.change(|meta| std::mem::replace(&mut meta.exists, true))?;
                if existed && mode == OpenMode::Create {
                    let store = self.name.clone();
                    return Err(Error::BucketExists { store });
                }
                Ok(())
            }
        }
    }

    /// Writes several transactions at once; the outer error fails all of them.
    pub(crate) fn write(&self, requests: &[Request]) -> Result<Vec<Result<Commit>>> {
        let not_applied = |error| failure::not_applied(&self.name, error);
        let mut published = self.history.published();
        let database = self.database();
        let transaction = database
            .begin_write()
            .map_err(|error| not_applied(error.into()))?;
        let mut writer = Writer::open(&self.name, &transaction).map_err(not_applied)?;
        let results = requests
            .iter()
            .map(|request| writer.apply(request))
            .collect::<Result<_, _>>()
            .map_err(not_applied)?;
        let (last, records) = (writer.meta.last, std::mem::take(&mut writer.records));
        if writer.finish().map_err(not_applied)? {
            transaction
                .commit()
                .map_err(|error| failure::indeterminate(&self.name, error))?;
            self.snapshots.prune(last);
            published.commits(records);
        }
        Ok(results)
    }

    pub(crate) fn get(
        &self,
        key: &Key,
        now: SystemTime,
        consistency: Consistency,
    ) -> Result<Option<Entry>> {
        let newest = self.newest()?;
        self.check_reached(newest.meta, consistency)?;
        newest
            .get(key, now)
            .map_err(|error| failure::not_applied(&self.name, error))
    }

    pub(crate) fn page(&self, options: &ListOptions, now: SystemTime) -> Result<Listing> {
        let newest = Arc::new(self.newest()?);
        self.check_reached(newest.meta, options.consistency)?;
        let snapshot = match &options.cursor {
            None => newest,
            Some(cursor) => self.snapshot(cursor.snapshot(), newest)?,
        };
        let listing = snapshot
            .page(options, now)
            .map_err(|error| failure::not_applied(&self.name, error))?;
        if listing.cursor.is_some() {
            self.snapshots.keep(snapshot);
        }
        Ok(listing)
    }

    pub(crate) fn meta(&self) -> Result<Meta> {
        Ok(self.newest()?.meta)
    }

    /// Empties the bucket and marks it as absent, in one step, then shrinks the file.
    pub(crate) fn teardown(&self) -> Result<()> {
        let existed = self.change(|meta| {
            let existed = meta.exists;
            *meta = Meta {
                last: meta.last + u64::from(existed),
                ..Meta::default()
            };
            existed
        })?;
        if existed {
            self.snapshots.clear();
            self.shrink();
        }
        Ok(())
    }

    /// Changes the state of the bucket as a whole; where it is absent afterwards, so are its
    /// entries.
    fn change<T>(&self, change: impl FnOnce(&mut Meta) -> T) -> Result<T> {
        let not_applied = |error| failure::not_applied(&self.name, error);
        let mut published = self.history.published();
        let database = self.database();
        let transaction = database
            .begin_write()
            .map_err(|error| not_applied(error.into()))?;
        let mut writer = Writer::open(&self.name, &transaction).map_err(not_applied)?;
        let result = change(&mut writer.meta);
        let (absent, last) = (!writer.meta.exists, writer.meta.last);
        if writer.finish().map_err(not_applied)? {
            if absent {
                clear(&transaction).map_err(not_applied)?;
            }
            transaction
                .commit()
                .map_err(|error| failure::indeterminate(&self.name, error))?;
            if absent {
                published.teardown(Revision::new(last));
            }
        }
        Ok(result)
    }

    /// All entries that begin with a text, with their last commit: for a watcher, to whom
    /// everything up to this commit has been told, and nothing after it.
    pub(crate) fn entries(&self, prefix: &str, now: SystemTime) -> Result<(Revision, Vec<Entry>)> {
        let newest = {
            let _published = self.history.published();
            self.newest()?
        };
        let options = ListOptions::prefix(prefix);
        let listing = newest
            .page(&options, now)
            .map_err(|error| failure::not_applied(&self.name, error))?;
        Ok((listing.revision, listing.entries))
    }

    /// From now on knows which entries expire, for watchers to be told when they do.
    pub(crate) fn know_expiring(&self) -> Result<()> {
        let mut published = self.history.published();
        if published.lacks_expiring() {
            let expiring = self.newest()?.expiring();
            let expiring = expiring.map_err(|error| failure::not_applied(&self.name, error))?;
            published.load_expiring(expiring);
        }
        Ok(())
    }

    /// Gives space back to the file system. The space can be used again also where this fails,
    /// because somebody is reading just now.
    fn shrink(&self) {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = database.compact();
    }

    fn newest(&self) -> Result<Snapshot> {
        Snapshot::newest(&self.database()).map_err(|error| failure::not_applied(&self.name, error))
    }

    fn snapshot(&self, requested: Revision, newest: Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        if newest.revision() == requested {
            return Ok(newest);
        }
        self.snapshots.find(requested).ok_or(Error::Compacted {
            requested,
            current: newest.revision(),
        })
    }

    /// The newest commit is all there is: only a revision from elsewhere cannot be reached.
    fn check_reached(&self, Meta { last, .. }: Meta, consistency: Consistency) -> Result<()> {
        match consistency {
            Consistency::AtLeast(wanted) if wanted.get() > last => Err(Error::Unavailable {
                store: self.name.clone(),
                reason: format!("revision {wanted} is not reached; the last one is {last}"),
                source: None,
            }),
            _ => Ok(()),
        }
    }

    fn database(&self) -> RwLockReadGuard<'_, Database> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn clear(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    transaction.delete_table(ENTRIES)?;
    transaction.delete_table(EXPIRIES)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(EXPIRIES)?;
    Ok(())
}
