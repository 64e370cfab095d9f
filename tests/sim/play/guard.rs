//! What must be true of every single request, whoever makes it: looked at when it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use afn::layout::part::Part;
use afn::layout::{Key, Message, key, object};
use afn::limits;
use afn::model::{AppName, BatchId, CallId, Outcome, Time};
use afn::seam::StoreExt as _;
use afn::seam::store::{ByteRange, List, Object, Put, Store};
use bytes::Bytes;

use super::check::{Invariant, Verdict, Violation};

/// One process sends a chunk again once an hour for every supervisor of that chunk's batch that it keeps, and a day makes few
/// supervisors. A hand-over sends a chunk too, but at most once for each delivery, so deliveries are counted against it.
/// Supervisors look at least once a minute: one that sends at every look is past this.
const AGAIN_AN_HOUR_MAX: usize = 20;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Default)]
pub struct Guard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    violation: Option<Violation>,
    /// How often the store was written to.
    writes: u64,
    /// By process, batch and chunk: when the chunk was received, and when it was sent again whole.
    received: BTreeMap<(String, BatchId, u64), Vec<Duration>>,
    again: BTreeMap<(String, BatchId, u64), Vec<Duration>>,
    /// Batches whose own supervisor's message has been on its queue, since the last purge.
    supervised: BTreeSet<BatchId>,
    /// Chunks that a supervisor has put on the queue as nobody had before.
    dispatched: BTreeSet<(BatchId, u64)>,
    /// The first messages that were sent; they come again weeks later.
    hoard: Vec<(usize, String)>,
    /// How long content is kept after its end, where that is not the default.
    kept: Option<Duration>,
}

impl Guard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }

    pub fn verdict(&self) -> Verdict {
        self.state().violation.clone().map_or(Ok(()), Err)
    }

    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    pub fn keep(&self, kept: Duration) {
        self.state().kept = Some(kept);
    }

    pub fn broken(&self, violation: Violation) {
        self.state().violation.get_or_insert(violation);
    }

    pub fn hoard(&self) -> Vec<(usize, String)> {
        self.state().hoard.clone()
    }

    /// Invariant 1: only definitions are written twice.
    pub fn put(&self, key: &Key, mode: &Put) {
        self.state().writes += 1;
        let definition = matches!(
            key,
            Key::App(..)
                | Key::Route(..)
                | Key::Function(..)
                | Key::Control(..)
                | Key::Shares(..)
                | Key::Settings
        );
        if *mode != Put::Create && !definition {
            self.broken(Invariant::WrittenOnce.broken(format!("{key} was written again")));
        }
    }

    pub async fn written(&self, store: &dyn Store, name: &Key) {
        if !matches!(name, Key::Status(..) | Key::Part(..)) {
            return;
        }
        let stored = store.get(name, ByteRange::Whole(u64::MAX)).await.expect("it was just written");
        match name.clone() {
            Key::Status(app, call) => self.decided(store, name, app, call, &stored).await,
            _ => self.flushed(name, stored.body),
        }
    }

    /// Whoever can read an outcome can read what it names (H6).
    async fn decided(&self, store: &dyn Store, name: &Key, app: AppName, call: CallId, stored: &Object) {
        let outcome: Outcome = object::decode(name, &stored.body).expect("an outcome can be read");
        let Some(attempt) = outcome.attempt else { return };
        let result = outcome.result.map(|_| Key::Result(app.clone(), call, attempt));
        for named in result.into_iter().chain(outcome.log.map(|_| Key::Log(app, call, attempt))) {
            if store.head(&named).await.is_err() {
                self.broken(Invariant::Truthful.broken(format!("{name} names {named}, which is not there")));
            }
        }
    }

    /// A call that is decided is never pending.
    fn flushed(&self, name: &Key, part: Bytes) {
        let footer = Part::open(name, part).and_then(|part| part.footer()).expect("a part can be read");
        let mut pending = footer.pending.iter().flat_map(|run| run.first..=run.last);
        if let Some(number) = pending.find(|number| footer.decided.contains(*number)) {
            self.broken(Invariant::OneOutcome.broken(format!("{name}: {number} is decided and pending")));
        }
    }

    /// Invariant 6: sent again once an hour, however long the queue is (N6). `at`: since the beginning.
    pub fn sent(&self, process: &str, queue: usize, body: &str, at: Duration) {
        let mut state = self.state();
        if state.hoard.len() < 12 {
            state.hoard.push((queue, body.to_owned()));
        }
        match Message::decode(body) {
            Ok(Message::Range(range)) => {
                let is_retry = range.calls.iter().all(|run| run.value.attempts > 0);
                let whole = range.losses.is_empty() && !is_retry;
                let ends = range.calls.last() == Some(range.chunk);
                if !whole || !ends || !process.starts_with("worker") {
                    return;
                }
                let chunk = (process.to_owned(), range.batch, range.chunk);
                let deliveries = state.received.get_mut(&chunk).map_or(0, |times| within_an_hour(times, at));
                let times = state.again.entry(chunk).or_default();
                times.push(at);
                let sends = within_an_hour(times, at);
                if sends > AGAIN_AN_HOUR_MAX + deliveries {
                    let what = format!("{process} sent {range:?} {sends} times within an hour");
                    state.violation.get_or_insert(Invariant::Bounded.broken(what));
                }
            }
            Ok(Message::Call(_) | Message::Supervise(_)) | Err(_) => {}
        }
    }

    /// Invariant 6: of all supervisors that a batch ever has, one sends a chunk for the first time. `again`: it says that the
    /// chunk may have been sent before.
    pub fn dispatched(&self, batch: BatchId, last: u64, again: bool) {
        let mut state = self.state();
        if !again && !state.dispatched.insert((batch, last)) {
            let what = format!("the chunk of {batch} that ends with {last} was sent twice as if it were new");
            state.violation.get_or_insert(Invariant::Bounded.broken(what));
        }
    }

    /// What a process has received. `at`: since the beginning.
    pub fn received(&self, process: &str, body: &str, at: Duration) {
        if let Ok(Message::Range(range)) = Message::decode(body) {
            let chunk = (process.to_owned(), range.batch, range.chunk);
            self.state().received.entry(chunk).or_default().push(at);
        }
    }

    /// What has come to a queue.
    pub fn arrived(&self, body: &str) {
        if let Some(batch) = own_supervisor(body) {
            self.state().supervised.insert(batch);
        }
    }

    pub fn purged(&self) {
        self.state().supervised.clear();
    }

    /// Invariant 4: a batch has its supervisor's message from its beginning to its end. `on_queue`: the bodies of all
    /// messages on `batches`.
    pub fn supervised(&self, fired: impl Fn(&BatchId) -> bool, on_queue: &[String]) -> Verdict {
        let there: BTreeSet<BatchId> = on_queue.iter().filter_map(|body| own_supervisor(body)).collect();
        let state = self.state();
        match state.supervised.iter().find(|batch| !there.contains(batch) && !fired(batch)) {
            Some(batch) => {
                Err(Invariant::NothingLost.broken(format!("{batch} has lost its supervisor's message")))
            }
            None => Ok(()),
        }
    }

    /// Invariant 3, after H14: nothing goes before its time, and what tells that all was decided goes last or never.
    pub async fn before_delete(&self, store: &dyn Store, keys: &[Key], now: Time) {
        self.state().writes += 1;
        let kept_ms = limits::ms(self.state().kept.unwrap_or(limits::CONTENT_KEPT));
        for key in keys {
            if let Err(why) = may_go(store, key, now, kept_ms).await {
                self.broken(Invariant::NothingGoesEarly.broken(format!("{key} was deleted {why}")));
            }
        }
    }
}

/// The batch of a message for its own supervisor, not an extra one.
fn own_supervisor(body: &str) -> Option<BatchId> {
    match Message::decode(body) {
        Ok(Message::Supervise(message)) if !message.extra => Some(message.batch),
        _ => None,
    }
}

async fn may_go(store: &dyn Store, name: &Key, now: Time, kept_ms: u64) -> Result<(), &'static str> {
    let Ok(info) = store.head(name).await else { return Ok(()) };
    let older = |than_ms: u64, at: Time| now.since_ms(at) > than_ms;
    let gone_ms = limits::ms(limits::DELETE_AFTER);
    let old = |than_ms: u64, decided: Key| async move {
        match store.head(&decided).await {
            Ok(info) if older(than_ms, info.modified_at) => Ok(()),
            Ok(_) => Err("before its time"),
            Err(_) => Err("though nothing says that it was decided"),
        }
    };
    match name.to_string().parse() {
        Ok(Key::Status(app, call)) => {
            let whole =
                store.list_all(List::all(key::call(&app, call))).await.expect("the store never fails");
            match whole.entries.len() {
                1 => old(gone_ms, Key::Status(app, call)).await,
                _ => Err("before the rest of its call"),
            }
        }
        Ok(
            Key::Payload(app, call)
            | Key::Started(app, call, _)
            | Key::Void(app, call, _)
            | Key::Unsuited(app, call, _)
            | Key::Result(app, call, _)
            | Key::Log(app, call, _),
        ) => old(kept_ms, Key::Status(app, call)).await,
        Ok(
            Key::Batch(app, batch)
            | Key::Chunk(app, batch, _)
            | Key::Input(app, batch, _)
            | Key::Sealed(app, batch)
            | Key::Part(app, batch, ..)
            | Key::BatchResult(app, batch, ..)
            | Key::Mark(app, batch, ..)
            | Key::MarkVoid(app, batch, ..)
            | Key::BatchUnsuited(app, batch, _)
            | Key::Cancelled(app, batch)
            | Key::Dispatched(app, batch, _)
            | Key::Control(app, batch)
            | Key::Shares(app, batch)
            | Key::Retry(app, batch, _),
        ) => old(kept_ms, Key::Summary(app, batch)).await,
        Ok(Key::Summary(app, batch) | Key::Fired(app, batch)) => old(gone_ms, Key::Deleted(app, batch)).await,
        Ok(Key::Deleted(app, batch)) => {
            let whole = store.list_all(List::all(key::batch(&app, batch))).await.expect("it never fails");
            match whole.entries.len() {
                1 => old(gone_ms, Key::Deleted(app, batch)).await,
                _ => Err("before the rest of its batch"),
            }
        }
        Ok(Key::Pointer(batch)) => {
            let all = store.list_all(List::all(key::apps())).await.expect("the store never fails");
            let deleted = format!("/batches/{batch}/deleted");
            match all.entries.iter().find(|entry| entry.key.ends_with(&deleted)) {
                Some(entry) => old(gone_ms, entry.to_key()).await,
                None => Err("though nothing says that it was deleted"),
            }
        }
        Ok(Key::Idempotency(..)) if !older(limits::ms(limits::IDEMPOTENCY_KEY), info.modified_at) => {
            Err("before its time")
        }
        _ => Ok(()),
    }
}

/// Forgets what is older than an hour, and counts the rest.
fn within_an_hour(times: &mut Vec<Duration>, now: Duration) -> usize {
    times.retain(|at| now - *at < HOUR);
    times.len()
}
