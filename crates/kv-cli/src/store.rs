use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use kv_core::{Error, OpenMode, Outcome, WatchStore};
use kv_memory::MemoryStore;
use kv_redb::RedbStore;
use tokio::time::Instant;

use crate::args::Global;
use crate::exit::Failure;
use crate::kubernetes::{self, Kind};

/// Where a bucket is: what `--store` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    File(PathBuf),
    Cluster {
        kind: Kind,
        namespace: String,
        bucket: String,
    },
    Memory,
}

impl Location {
    /// What has to be typed before the bucket is removed.
    pub(crate) fn bucket(&self) -> String {
        match self {
            Self::File(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            Self::Cluster { bucket, .. } => bucket.clone(),
            Self::Memory => "memory".to_owned(),
        }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let kind = match scheme {
            "memory" if rest.is_empty() => return Ok(Self::Memory),
            "file" if !rest.is_empty() => return Ok(Self::File(PathBuf::from(rest))),
            "file" => return Err("a file needs a path: file:PATH".to_owned()),
            "configmap" => Kind::ConfigMap,
            "secret" => Kind::Secret,
            _ => {
                return Err("give file:PATH, configmap:NAMESPACE/BUCKET, \
                            secret:NAMESPACE/BUCKET or memory:"
                    .to_owned());
            }
        };
        match rest.split_once('/') {
            Some((namespace, bucket)) if !namespace.is_empty() && !bucket.is_empty() => {
                Ok(Self::Cluster {
                    kind,
                    namespace: namespace.to_owned(),
                    bucket: bucket.to_owned(),
                })
            }
            _ => Err(format!(
                "a bucket in a cluster needs its namespace and its name: {scheme}:NAMESPACE/BUCKET"
            )),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Cluster {
                kind,
                namespace,
                bucket,
            } => write!(f, "{kind}:{namespace}/{bucket}"),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

/// Where the bucket is that the caller means, also where `--store` says nothing.
pub(crate) fn location(global: &Global) -> Result<Location, Failure> {
    let default = || default_path().map(Location::File);
    global.store.clone().or_else(default).ok_or_else(|| {
        Failure::Usage("neither --store nor KV_STORE nor HOME is set: which store?".to_owned())
    })
}

fn default_path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let data = variable("XDG_DATA_HOME")
        // The specification has relative ones ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(".local/share")))?;
    Some(data.join("kv").join("default.redb"))
}

/// A store in a cluster keeps to `--timeout` itself and says what it waited for, and whether a
/// change can have been made. It gets the time to do so.
const SLACK: Duration = Duration::from_millis(500);

/// An open store, and the time until which it may take.
pub(crate) struct Store {
    pub(crate) inner: Arc<dyn WatchStore>,
    pub(crate) location: Location,
    timeout: Duration,
    deadline: Instant,
}

impl Store {
    /// Opens the store that the caller means. From here on the time of `--timeout` runs.
    pub(crate) async fn open(global: &Global, mode: OpenMode) -> Result<Self, Failure> {
        let location = location(global)?;
        let timeout = global.timeout;
        let deadline = Instant::now() + timeout + SLACK;
        if global.store.is_none() && mode != OpenMode::Open {
            create_directory(&location).await?;
        }
        tracing::debug!(%location, ?mode, "opening the store");
        let opening = tokio::time::timeout_at(deadline, inner(&location, global, mode));
        let inner = opening
            .await
            .unwrap_or_else(|_| Err(unavailable(&location, timeout).into()))?;
        Ok(Self {
            inner,
            location,
            timeout,
            deadline,
        })
    }

    /// Waits for a read.
    pub(crate) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let answer = tokio::time::timeout_at(self.deadline, read).await;
        answer
            .unwrap_or_else(|_| Err(unavailable(&self.location, self.timeout)))
            .map_err(Failure::Store)
    }

    /// What it means that the events of a watch have come to an end.
    pub(crate) fn closed(&self) -> Failure {
        let store = self.location.to_string();
        Failure::Store(Error::Closed { store })
    }

    /// Waits for a change, which may go on behind a caller who waits no longer.
    pub(crate) async fn write<T>(
        &self,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let answer = tokio::time::timeout_at(self.deadline, write).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Error::Indeterminate {
                store: self.location.to_string(),
                reason: format!("there was no answer within {:?}", self.timeout),
                source: None,
            })
        });
        answer.map_err(|error| match error.outcome() {
            Outcome::Unknown => Failure::Unknown(error),
            Outcome::NotApplied => Failure::Store(error),
        })
    }
}

async fn inner(
    location: &Location,
    global: &Global,
    mode: OpenMode,
) -> Result<Arc<dyn WatchStore>, Failure> {
    Ok(match location {
        Location::File(path) => Arc::new(RedbStore::open(path, mode).await?),
        Location::Cluster {
            kind,
            namespace,
            bucket,
        } => Arc::new(kubernetes::open(*kind, namespace, bucket, global, mode).await?),
        Location::Memory => Arc::new(MemoryStore::new()),
    })
}

/// Makes the directory of the file that nobody chose. Whoever chooses one makes it, so that a
/// slip of the pen makes no directories.
async fn create_directory(location: &Location) -> Result<(), Failure> {
    let Location::File(path) = location else {
        return Ok(());
    };
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    let path = directory.to_owned();
    tokio::fs::create_dir_all(directory)
        .await
        .map_err(|source| Failure::Directory { path, source })
}

fn unavailable(location: &Location, timeout: Duration) -> Error {
    Error::Unavailable {
        store: location.to_string(),
        reason: format!("there was no answer within {timeout:?}"),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_reads_as_it_is_written() {
        for text in [
            "file:/tmp/kv.redb",
            "file:kv.redb",
            "file:a:b/c",
            "configmap:default/approvals",
            "secret:team-a/tokens",
            "memory:",
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_location_says_what_is_missing() {
        let wrong = |text: &str| text.parse::<Location>().unwrap_err();
        for text in [
            "configmap:",
            "configmap:default",
            "configmap:/b",
            "configmap:default/",
        ] {
            assert!(wrong(text).contains("configmap:NAMESPACE/BUCKET"), "{text}");
        }
        assert!(wrong("file:").contains("file:PATH"));
        for text in ["", "etcd:x", "kv.redb", "memory:x"] {
            assert!(wrong(text).contains("memory:"), "{text}");
        }
    }
}
