//! Watches: a stream of the changes after a version.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

use crate::events::Filter;
use crate::fault::{WatchFault, WatchFaultKind};
use crate::query::Query;
use crate::read::parse_version;
use crate::request::ApiRequest;
use crate::selector::Selector;
use crate::service::{BoxError, connection_reset};
use crate::shared::{Shared, Signal};
use crate::status::{Finding, Result, expired, invalid_options};

/// How often a watch is told that nothing happened.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How long before the end of a watch its last bookmark comes.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// How long a watch lasts that does not say so; the real server draws 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// One open watch.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    signal: Receiver<Signal>,
    filter: Filter,
    /// The version that the server was at when the watch was opened.
    start: u64,
    /// The version up to which changes have been queued.
    cursor: u64,
    queue: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    cuts: u64,
    ended: bool,
    fault: Option<WatchFault>,
    delivered: u64,
}

impl Watch {
    /// Opens a watch; only a request that can't be understood is refused outright.
    pub(crate) fn open(shared: &Arc<Shared>, request: &ApiRequest) -> Result<Watch> {
        let filter = Filter {
            kind: request.kind,
            namespace: request.namespace().to_owned(),
            selector: Selector::parse(&request.query)?,
            metadata_only: request.metadata_only,
            in_protobuf: request.wants_protobuf,
        };
        let initial_events = wants_initial_events(&request.query)?;
        let version = request.query.get("resourceVersion");
        let version = version.map(parse_version).transpose()?;
        let timeout = request.query.number("timeoutSeconds")?;
        let deadline = Instant::now() + timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let signal = shared.subscribe();
        let cuts = signal.borrow().cuts;
        let mut watch = Watch {
            shared: Arc::clone(shared),
            signal,
            filter,
            start: 0,
            cursor: 0,
            queue: VecDeque::new(),
            bookmarks: request.query.flag("allowWatchBookmarks"),
            next_bookmark: Instant::now() + BOOKMARK_PERIOD,
            deadline,
            cuts,
            ended: false,
            fault: None,
            delivered: 0,
        };
        watch.start(version.unwrap_or(0), initial_events);
        Ok(watch)
    }

    /// The media type of the stream.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.filter.in_protobuf {
            true => "application/vnd.kubernetes.protobuf;stream=watch",
            false => "application/json",
        }
    }

    pub(crate) fn disturb(&mut self, fault: WatchFault) {
        self.fault = Some(fault);
    }

    /// Queues what a watch begins with: nothing, the present objects, or a refusal.
    fn start(&mut self, version: u64, initial_events: bool) {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        let store = &state.registry.store;
        if version == 0 || initial_events {
            let objects = store.list(self.filter.kind, &self.filter.namespace);
            let events = objects
                .filter(|object| self.filter.selector.matches(object))
                .map(|object| self.filter.event("ADDED", object));
            self.queue = events.collect();
            self.cursor = store.revision();
            if initial_events && self.bookmarks {
                let bookmark = self.filter.bookmark(self.cursor, true);
                self.queue.push_back(bookmark);
            }
        } else if version < store.oldest() {
            let refusal = expired(version, store.oldest());
            self.queue.push_back(self.filter.error(&refusal));
            self.ended = true;
        } else {
            self.cursor = version;
        }
        self.start = store.revision();
    }

    /// The next piece of the stream, or its end.
    pub(crate) async fn next(&mut self) -> Option<std::result::Result<Bytes, BoxError>> {
        loop {
            if self.signal.borrow_and_update().cuts != self.cuts {
                return self.end_with(connection_reset());
            }
            if let Some(end) = self.disturbance().await {
                return end;
            }
            if let Some(event) = self.queue.pop_front() {
                return Some(Ok(self.deliver(event)));
            }
            if self.ended || Instant::now() >= self.deadline || !self.fetch() {
                return None;
            }
            if self.queue.is_empty() {
                self.wait().await;
            }
        }
    }

    fn end_with(&mut self, error: BoxError) -> Option<std::result::Result<Bytes, BoxError>> {
        self.fault = None;
        self.queue.clear();
        if std::mem::replace(&mut self.ended, true) {
            None
        } else {
            Some(Err(error))
        }
    }

    /// What an injected fault makes of the stream from here on.
    async fn disturbance(&mut self) -> Option<Option<std::result::Result<Bytes, BoxError>>> {
        let fault = self.fault.filter(|fault| self.delivered >= fault.after)?;
        match fault.kind {
            WatchFaultKind::Duplicated => None,
            WatchFaultKind::Stalled => future::pending().await,
            WatchFaultKind::Cut => Some(self.end_with(connection_reset())),
            WatchFaultKind::Closed => Some(None),
            WatchFaultKind::Expired => {
                self.fault = None;
                self.ended = true;
                self.queue.clear();
                let oldest = self.cursor + 1;
                Some(Some(Ok(self.filter.error(&expired(self.cursor, oldest)))))
            }
        }
    }

    fn deliver(&mut self, event: Bytes) -> Bytes {
        let duplicated = self.fault.is_some_and(|fault| {
            fault.kind == WatchFaultKind::Duplicated && self.delivered >= fault.after
        });
        self.delivered += 1;
        if duplicated {
            Bytes::from([event.as_ref(), event.as_ref()].concat())
        } else {
            event
        }
    }

    /// Queues the changes since the last time; a client too far behind is given up.
    fn fetch(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        let store = &state.registry.store;
        if self.cursor < store.oldest() {
            return false;
        }
        self.queue.extend(self.filter.events(store, self.cursor));
        self.cursor = self.cursor.max(store.revision());
        self.queue.len() <= state.watch_backlog
    }

    async fn wait(&mut self) {
        let bookmark = self.bookmark_time();
        let changed = self.shared.changed.notified();
        if self.signal.has_changed().unwrap_or(true) {
            return;
        }
        tokio::select! {
            biased;
            () = changed => {}
            () = sleep_until(bookmark.unwrap_or(self.deadline).min(self.deadline)) => {
                if bookmark.is_some_and(|time| Instant::now() >= time) {
                    self.bookmark();
                }
            }
        }
    }

    /// A bookmark that tells nothing new is left out.
    fn bookmark(&mut self) {
        self.next_bookmark = Instant::now() + BOOKMARK_PERIOD;
        if self.cursor > self.start {
            self.queue
                .push_back(self.filter.bookmark(self.cursor, false));
        }
    }

    fn bookmark_time(&self) -> Option<Instant> {
        let last = self.deadline.checked_sub(LAST_BOOKMARK)?;
        // After the last one, only the end is left to wait for.
        let due = if Instant::now() >= last {
            None
        } else {
            Some(last.min(self.next_bookmark))
        };
        due.filter(|_| self.bookmarks)
    }
}

fn wants_initial_events(query: &Query) -> Result<bool> {
    let wanted = query.flag("sendInitialEvents");
    if wanted && query.get("resourceVersionMatch") != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(invalid_options(Finding::forbidden(
            "resourceVersionMatch",
            why,
        )));
    }
    Ok(wanted)
}
