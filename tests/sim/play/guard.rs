//! What must be true of every single request, whoever makes it: looked at when it is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use afn::layout::{Key, Message, key, object};
use afn::limits;
use afn::model::{BatchId, MessageId, Outcome, Time};
use afn::seam::StoreExt as _;
use afn::seam::store::{List, Put, Range, Store};

use super::check::{Invariant, Verdict, Violation};

/// One process sends a chunk again once an hour for every supervisor of it that it keeps, and hands it over once.
const AGAIN_AN_HOUR_MAX: usize = 2 * limits::SUPERVISORS_MAX;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Default)]
pub struct Guard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    violation: Option<Violation>,
    /// How often the store was written to.
    writes: u64,
    /// By process, batch and chunk: when whole chunks were sent again.
    again: BTreeMap<(String, BatchId, u64), Vec<Duration>>,
    /// Marks that said `alone`, as far as messages carry them; by message and number in the batch (0: a single call).
    carried: BTreeMap<(MessageId, u64), u32>,
    /// The first messages that were sent; they come again weeks later.
    hoard: Vec<(usize, String)>,
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

    fn broken(&self, violation: Violation) {
        self.state().violation.get_or_insert(violation);
    }

    pub fn carried(&self) -> BTreeMap<(MessageId, u64), u32> {
        self.state().carried.clone()
    }

    pub fn hoard(&self) -> Vec<(usize, String)> {
        self.state().hoard.clone()
    }

    /// Invariant 1: only definitions are written twice.
    pub fn put(&self, key: &str, mode: &Put) {
        self.state().writes += 1;
        let definition = matches!(key.parse(), Ok(Key::App(..) | Key::Route(..) | Key::Function(..)));
        if *mode != Put::Create && !definition {
            self.broken(Invariant::WrittenOnce.broken(format!("{key} was written again")));
        }
    }

    /// Whoever can read an outcome can read what it names (H6).
    pub async fn decided(&self, store: &dyn Store, name: &str) {
        let Ok(Key::Status(app, call)) = name.parse() else { return };
        let stored = store.get(name, Range::All).await.expect("it was just written");
        let outcome: Outcome = object::decode(name, &stored.body).expect("an outcome can be read");
        let Some(attempt) = outcome.attempt else { return };
        let result = outcome.result.map(|_| Key::Result(app.clone(), call, attempt));
        for named in result.into_iter().chain(outcome.log.map(|_| Key::Log(app, call, attempt))) {
            if store.head(&named.to_string()).await.is_err() {
                self.broken(Invariant::Truthful.broken(format!("{name} names {named}, which is not there")));
            }
        }
    }

    /// Invariant 6: sent again once an hour, however long the queue is (N6). `at`: since the beginning.
    pub fn sent(&self, process: &str, queue: usize, body: &str, at: Duration) {
        let mut state = self.state();
        if state.hoard.len() < 12 {
            state.hoard.push((queue, body.to_owned()));
        }
        match Message::decode(body) {
            Ok(Message::Call(call)) => {
                state.carried.insert((call.id, 0), call.alone_marks);
            }
            Ok(Message::Range(range)) => {
                for (number, marks) in &range.suspects {
                    state.carried.insert((range.id, *number), *marks);
                }
                let whole = range.shares == limits::SHARES && range.mismatch_since.is_none();
                if !whole || range.last != range.chunk || !process.starts_with("worker") {
                    return;
                }
                let times = state.again.entry((process.to_owned(), range.batch, range.chunk)).or_default();
                times.retain(|before| at - *before < HOUR);
                times.push(at);
                if times.len() > AGAIN_AN_HOUR_MAX {
                    let what = format!("{process} sent {range:?} {} times within an hour", times.len());
                    state.violation.get_or_insert(Invariant::Bounded.broken(what));
                }
            }
            Ok(Message::Supervise(_)) | Err(_) => {}
        }
    }

    /// Invariant 3, after H14: nothing goes before its time, and what tells that all was decided goes last or never.
    pub async fn before_delete(&self, store: &dyn Store, keys: &[String], now: Time) {
        self.state().writes += 1;
        for key in keys {
            if let Err(why) = may_go(store, key, now).await {
                self.broken(Invariant::NothingGoesEarly.broken(format!("{key} was deleted {why}")));
            }
        }
    }
}

async fn may_go(store: &dyn Store, name: &str, now: Time) -> Result<(), &'static str> {
    let Ok(info) = store.head(name).await else { return Ok(()) };
    let older = |than_ms: u64, at: Time| now.since_ms(at) > than_ms;
    let old = |decided: Key| async move {
        match store.head(&decided.to_string()).await {
            Ok(info) if older(limits::DELETE_AFTER_MS, info.modified_at) => Ok(()),
            Ok(_) => Err("before its time"),
            Err(_) => Err("though nothing says that it was decided"),
        }
    };
    match name.parse() {
        Ok(Key::Status(app, call)) => {
            let whole =
                store.list_all(List::all(key::call(&app, call))).await.expect("the store never fails");
            match whole.entries.len() {
                1 => old(Key::Status(app, call)).await,
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
        ) => old(Key::Status(app, call)).await,
        Ok(
            Key::Batch(app, batch)
            | Key::Chunk(app, batch, _)
            | Key::Input(app, batch, _)
            | Key::Sealed(app, batch)
            | Key::Part(app, batch, ..)
            | Key::BatchResult(app, batch, ..)
            | Key::Mark(app, batch, ..)
            | Key::MarkVoid(app, batch, ..)
            | Key::Cancelled(app, batch)
            | Key::Retry(app, batch, _),
        ) => old(Key::Summary(app, batch)).await,
        Ok(Key::Summary(..) | Key::Fired(..) | Key::Pointer(..)) => Err("though it stays"),
        Ok(Key::Idempotency(..)) if !older(limits::IDEMPOTENCY_KEY_MS, info.modified_at) => {
            Err("before its time")
        }
        _ => Ok(()),
    }
}
