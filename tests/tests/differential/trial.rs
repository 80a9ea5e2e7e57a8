use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kv_core::{
    Clock, Consistency, Cursor, GetOptions, Key, KvStore, ListOptions, ManualClock, OpenMode,
    Transaction,
};

use super::answer::{Answer, Refusal};
use super::model::{Demand, Model, Page};
use super::revisions::Revisions;
use super::step::{Condition, HANDLES, Level, Operation, Step};
use super::subject::Subject;

/// After so many other listings a store may have forgotten one that was begun.
const LISTINGS_KEPT: usize = 16;

/// A step that a store answers otherwise than the model.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    expected: Vec<Answer>,
    answered: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, expected) in self.expected.iter().enumerate() {
            let word = if i == 0 { "expected" } else { "      or" };
            writeln!(f, "{word} {expected:?}")?;
        }
        write!(f, " but got {:?}", self.answered)
    }
}

/// A store and the model, to which the same is done.
pub(crate) struct Trial<S> {
    subject: S,
    clock: ManualClock,
    model: Model,
    revisions: Revisions,
    handles: Vec<Handle>,
}

struct Handle {
    store: Arc<dyn KvStore>,
    /// The newest state of the model that a read or a commit through it must have seen.
    known: usize,
    unfinished: Option<Unfinished>,
}

/// A listing of which more is left.
struct Unfinished {
    page: Page,
    state: usize,
    cursor: Cursor,
    after: Option<String>,
    /// How many other listings were begun since.
    others: usize,
    /// The handle was opened anew since, or the bucket torn down.
    is_cut_off: bool,
}

impl<S: Subject> Trial<S> {
    pub(crate) async fn begin() -> Self {
        let clock = ManualClock::default();
        let mut trial = Self {
            subject: S::new(clock.clone()).await,
            model: Model::new(clock.now()),
            clock,
            revisions: Revisions::new(),
            handles: Vec::new(),
        };
        for _ in 0..HANDLES {
            let handle = trial.new_handle().await;
            trial.handles.push(handle.expect("a bucket is opened"));
        }
        trial
    }

    pub(crate) async fn end(self) {
        drop(self.handles);
        self.subject.finish().await;
    }

    async fn new_handle(&mut self) -> Result<Handle, Difference> {
        let opened = self.subject.open(OpenMode::OpenOrCreate).await;
        self.model.open(OpenMode::OpenOrCreate);
        let store = opened.map_err(|error| Difference {
            expected: vec![Answer::Done],
            answered: self.revisions.refused(&error),
        })?;
        Ok(Handle {
            store,
            known: self.model.newest(),
            unfinished: None,
        })
    }

    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), Difference> {
        match *step {
            Step::Commit {
                handle,
                ref conditions,
                ref operations,
            } => self.commit(handle, conditions, operations).await,
            Step::Get { handle, key, level } => self.get(handle, key, level).await,
            Step::List {
                handle,
                prefix,
                start_after,
                limit,
                level,
            } => {
                let start_after = start_after.map(str::to_owned);
                let page = Page {
                    prefix,
                    start_after,
                    limit,
                };
                self.list(handle, page, level).await
            }
            Step::NextPage { handle, of } => self.next_page(handle, of).await,
            Step::Advance(by) => {
                self.advance(by);
                Ok(())
            }
            Step::Expire { is_early } => {
                let wait = self.model.until_expiry().unwrap_or_default();
                self.advance(wait.saturating_sub(Duration::from_nanos(is_early.into())));
                Ok(())
            }
            Step::Reopen { handle } => self.reopen(handle..handle + 1).await,
            Step::Restart => self.reopen(0..HANDLES).await,
            Step::Open(mode) => self.open(mode).await,
            Step::Teardown { handle } => self.teardown(handle).await,
            Step::Maintain => {
                self.subject.maintain().await;
                Ok(())
            }
        }
    }

    /// Everything through every handle, now and after a restart.
    pub(crate) async fn compare_all(&mut self) -> Result<(), Difference> {
        for _ in 0..2 {
            for handle in 0..HANDLES {
                let all = Page {
                    prefix: "",
                    start_after: None,
                    limit: None,
                };
                self.list(handle, all, Level::Linearizable).await?;
            }
            self.reopen(0..HANDLES).await?;
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        handle: usize,
        conditions: &[Condition],
        operations: &[Operation],
    ) -> Result<(), Difference> {
        let demands = conditions
            .iter()
            .map(|condition| self.model.demand(*condition));
        let demands: Vec<Demand> = demands.collect();
        let transaction = self.transaction(&demands, operations);
        let result = self.handles[handle].store.commit(transaction).await;
        let before = self.model.newest();
        let expected = self.model.commit(&demands, operations);
        if let (Ok(commit), Answer::Committed { commit: number, .. }) = (&result, &expected) {
            self.revisions.note(*number, commit.revision);
        }
        if self.model.newest() > before {
            self.handles[handle].known = self.model.newest();
        }
        let answered = match &result {
            Ok(commit) => self.revisions.committed(commit),
            Err(error) => self.revisions.refused(error),
        };
        same(expected, answered)
    }

    fn transaction(&self, demands: &[Demand], operations: &[Operation]) -> Transaction {
        let transaction = demands
            .iter()
            .fold(Transaction::new(), |rest, demand| match demand {
                Demand::Absent(at) => rest.require_absent(key(at)),
                Demand::Exists(at) => rest.require_exists(key(at)),
                Demand::At(at, wanted) => rest.require_at(key(at), self.revisions.of(*wanted)),
            });
        operations
            .iter()
            .fold(transaction, |rest, operation| match *operation {
                Operation::Delete { key: at } => rest.delete(key(at)),
                Operation::Put {
                    key: at,
                    value,
                    ttl: None,
                } => rest.put(key(at), value.bytes()),
                Operation::Put {
                    key: at,
                    value,
                    ttl: Some(ttl),
                } => rest.put_expiring(key(at), value.bytes(), ttl),
            })
    }

    async fn get(&mut self, handle: usize, name: &str, level: Level) -> Result<(), Difference> {
        let options = GetOptions::default().with_consistency(self.consistency(level));
        let result = self.handles[handle]
            .store
            .get_opts(&key(name), options)
            .await;
        let answered = match &result {
            Ok(found) => self.revisions.found(found.as_ref()),
            Err(error) => self.revisions.refused(error),
        };
        let answer = |model: &Model, state| model.get(state, name);
        self.read(handle, level, answered, answer)?;
        Ok(())
    }

    async fn list(&mut self, handle: usize, page: Page, level: Level) -> Result<(), Difference> {
        let options = ListOptions {
            consistency: self.consistency(level),
            ..options(&page)
        };
        let result = self.handles[handle].store.list_opts(options).await;
        let answered = match &result {
            Ok(listing) => self.revisions.listed(listing),
            Err(error) => self.revisions.refused(error),
        };
        let state = self.read(handle, level, answered, |model, state| {
            model.list(state, &page)
        })?;
        if let Some((listing, state)) = result.ok().zip(state) {
            self.begun(handle, page, state, listing.cursor);
        }
        Ok(())
    }

    fn begun(&mut self, handle: usize, page: Page, state: usize, cursor: Option<Cursor>) {
        if cursor.is_some() {
            let unfinished = self
                .handles
                .iter_mut()
                .filter_map(|h| h.unfinished.as_mut());
            unfinished.for_each(|unfinished| unfinished.others += 1);
        }
        self.handles[handle].unfinished = cursor.map(|cursor| Unfinished {
            page,
            state,
            after: cursor.after().map(|key| key.as_str().to_owned()),
            cursor,
            others: 0,
            is_cut_off: false,
        });
    }

    async fn next_page(&mut self, handle: usize, of: usize) -> Result<(), Difference> {
        let Some(unfinished) = self.handles[of].unfinished.take() else {
            return Ok(());
        };
        let options = options(&unfinished.page).with_cursor(unfinished.cursor.clone());
        let result = self.handles[handle].store.list_opts(options).await;
        let rest = Page {
            start_after: unfinished.after.clone(),
            ..unfinished.page.clone()
        };
        let expected = self.model.list(unfinished.state, &rest);
        match result {
            Ok(listing) => {
                let answered = self.revisions.listed(&listing);
                if listing.cursor.is_some() {
                    self.begun(of, unfinished.page, unfinished.state, listing.cursor);
                }
                same(expected, answered)
            }
            Err(error) => {
                let answered = self.revisions.refused(&error);
                let may_be_gone =
                    handle != of || unfinished.is_cut_off || unfinished.others >= LISTINGS_KEPT;
                let gone = Answer::Refused(Refusal::Compacted);
                one_of(
                    vec![expected, gone]
                        .into_iter()
                        .take(1 + usize::from(may_be_gone)),
                    answered,
                )
            }
        }
    }

    /// Finds the state that a read shows, which must be one that it may show. `None`: it was
    /// refused, as it had to be.
    fn read(
        &mut self,
        handle: usize,
        level: Level,
        answered: Answer,
        answer: impl Fn(&Model, usize) -> Answer,
    ) -> Result<Option<usize>, Difference> {
        let known = self.handles[handle].known;
        let Some(oldest) = self.model.oldest_allowed(level, known) else {
            let refusal = Answer::Refused(Refusal::Unavailable);
            // Of a bucket that is gone a store need not know which revisions it gave out.
            let empty = (!self.model.exists()).then(|| answer(&self.model, self.model.newest()));
            return one_of([refusal].into_iter().chain(empty), answered).map(|()| None);
        };
        let mut allowed = oldest..self.model.newest() + 1;
        let Some(state) = allowed.find(|state| answer(&self.model, *state) == answered) else {
            let expected = (oldest..=self.model.newest()).map(|state| answer(&self.model, state));
            let expected = expected.rev().take(3).collect();
            return Err(Difference { expected, answered });
        };
        self.handles[handle].known = state.max(known);
        Ok(Some(state))
    }

    fn consistency(&self, level: Level) -> Consistency {
        match level {
            Level::Linearizable => Consistency::Linearizable,
            Level::Cached => Consistency::Cached,
            Level::AtLeast(which) => {
                Consistency::AtLeast(self.revisions.of(self.model.resolve(which)))
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.model.now += by;
    }

    async fn reopen(&mut self, which: std::ops::Range<usize>) -> Result<(), Difference> {
        let closed: Vec<Handle> = self.handles.drain(which.clone()).collect();
        let mut unfinished: Vec<_> = closed.into_iter().map(|handle| handle.unfinished).collect();
        for (at, unfinished) in which.zip(unfinished.drain(..)) {
            let mut handle = self.new_handle().await?;
            handle.unfinished = unfinished.map(|unfinished| Unfinished {
                is_cut_off: true,
                ..unfinished
            });
            self.handles.insert(at, handle);
        }
        Ok(())
    }

    async fn open(&mut self, mode: OpenMode) -> Result<(), Difference> {
        let opened = self.subject.open(mode).await;
        let answered = match opened {
            Ok(_) => Answer::Done,
            Err(error) => self.revisions.refused(&error),
        };
        same(self.model.open(mode), answered)
    }

    async fn teardown(&mut self, handle: usize) -> Result<(), Difference> {
        let result = self.handles[handle].store.teardown().await;
        let expected = self.model.teardown();
        self.handles[handle].known = self.model.newest();
        for unfinished in self
            .handles
            .iter_mut()
            .filter_map(|h| h.unfinished.as_mut())
        {
            unfinished.is_cut_off = true;
        }
        let answered = match result {
            Ok(()) => Answer::Done,
            Err(error) => self.revisions.refused(&error),
        };
        same(expected, answered)
    }
}

fn same(expected: Answer, answered: Answer) -> Result<(), Difference> {
    one_of([expected], answered)
}

fn one_of(expected: impl IntoIterator<Item = Answer>, answered: Answer) -> Result<(), Difference> {
    let expected: Vec<Answer> = expected.into_iter().collect();
    if expected.contains(&answered) {
        return Ok(());
    }
    Err(Difference { expected, answered })
}

fn options(page: &Page) -> ListOptions {
    ListOptions {
        start_after: page.start_after.as_deref().map(key),
        limit: page.limit,
        ..ListOptions::prefix(page.prefix)
    }
}

fn key(text: &str) -> Key {
    Key::new(text).expect("all keys are legal")
}
