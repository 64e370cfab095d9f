//! What stands in a store against what was accepted: every accepted call has one outcome, and the right one. Reads the
//! objects themselves, not what the engine's own readers make of them.

use std::collections::{BTreeMap, BTreeSet};

use afn::layout::batch::{Batch, Mark, Sealed, Summary};
use afn::layout::object::{self, Started};
use afn::layout::part::{Part, Row, RowResult};
use afn::layout::{Key, key};
use afn::model::{AppName, BatchId, CallId, Digest, Outcome, State};
use afn::seam::store::List;
use afn::seam::{Store, StoreExt as _};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::de::DeserializeOwned;

/// Requests side by side.
const AT_ONCE: usize = 16;
/// What a call is recorded with that lost every worker that ran it alone.
const KILLED: &str = "its worker was lost 5 times";
const MARKS_MIN: usize = 3;

/// What the function comes to.
pub enum Right {
    Answer(Vec<u8>),
    Failure(String),
}

/// What was done, and what should have come of it.
pub struct Expected<'a> {
    pub app: &'a AppName,
    /// Single calls that a submitter was told the id of, with what they were sent.
    pub calls: &'a BTreeMap<CallId, u64>,
    pub batches: &'a BTreeSet<BatchId>,
    /// What record `number` of the batch from this source holds.
    pub record: &'a (dyn Fn(&str, u64) -> u64 + Sync),
    pub right: &'a (dyn Fn(u64) -> Right + Sync),
    /// Workers that were killed, or stopped for longer than a lease: they alone can have lost a call.
    pub lost_workers: &'a BTreeSet<String>,
}

/// What was found. Only empty lists of faults are good.
#[derive(Debug, Default)]
pub struct Audit {
    /// Outcomes of single calls, and of calls of batches.
    pub calls: u64,
    pub rows: u64,
    pub parts: u64,
    /// Recorded as `killed`, rightly: three marks from when it was the only suspect are there, by workers that were lost.
    pub killed: u64,
    /// Batches whose submitters were killed before they had begun.
    pub unbegun: u64,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub wrong: Vec<String>,
}

impl Audit {
    pub fn assert_clean(&self) {
        let faults = [&self.lost, &self.doubled, &self.wrong];
        let shown = faults.map(|faults| (faults.len(), faults.iter().take(20).collect::<Vec<_>>()));
        assert!(faults.iter().all(|faults| faults.is_empty()), "lost, doubled, wrong: {shown:#?}");
    }

    pub fn figures(&self) -> String {
        format!(
            "{} single calls, {} calls of batches in {} parts: lost {}, doubled {}, wrong {} ({} killed as they should be)",
            self.calls,
            self.rows,
            self.parts,
            self.lost.len(),
            self.doubled.len(),
            self.wrong.len(),
            self.killed
        )
    }
}

pub async fn audit(store: &dyn Store, expected: &Expected<'_>) -> Audit {
    let mut audit = Audit::default();
    singles(store, expected, &mut audit).await;
    let pointers = keys(store, key::pointers()).await;
    for batch in expected.batches {
        if !pointers.contains(&Key::Pointer(*batch)) {
            audit.lost.push(format!("batch {batch}"));
        }
    }
    for pointer in pointers {
        let Key::Pointer(batch) = pointer else { panic!("`{pointer}` is no pointer") };
        one_batch(store, expected, batch, &mut audit).await;
    }
    audit
}

async fn keys(store: &dyn Store, prefix: String) -> Vec<Key> {
    let listed = store.list_all(List::all(prefix)).await.expect("a list");
    listed.entries.iter().map(|entry| entry.key.parse().expect("a key of the layout")).collect()
}

async fn body(store: &dyn Store, key: &Key) -> Option<Bytes> {
    store.find(key, u64::MAX).await.unwrap_or_else(|error| panic!("{key}: {error}")).map(|object| object.body)
}

async fn read<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Option<T> {
    body(store, key).await.map(|body| object::decode(key, &body).expect("a body of the layout"))
}

async fn singles(store: &dyn Store, expected: &Expected<'_>, audit: &mut Audit) {
    let mut calls: BTreeMap<CallId, Vec<Key>> = BTreeMap::new();
    for key in keys(store, key::calls(expected.app)).await {
        let (Key::Payload(_, call)
        | Key::Started(_, call, _)
        | Key::Void(_, call, _)
        | Key::Unsuited(_, call, _)
        | Key::Result(_, call, _)
        | Key::Log(_, call, _)
        | Key::Status(_, call)) = key
        else {
            panic!("`{key}` lies among the calls")
        };
        calls.entry(call).or_default().push(key);
    }
    for (call, n) in expected.calls.iter().filter(|(call, _)| !calls.contains_key(call)) {
        audit.lost.push(format!("call {call} ({n}) and its payload"));
    }
    let judged = stream::iter(calls).map(|(call, keys)| single(store, expected, call, keys));
    let judged: Vec<Judged> = judged.buffer_unordered(AT_ONCE).collect().await;
    for judged in judged {
        match judged {
            Judged::Lost(which) => audit.lost.push(which),
            Judged::Right => audit.calls += 1,
            Judged::Killed => (audit.calls, audit.killed) = (audit.calls + 1, audit.killed + 1),
            Judged::Wrong(why) => audit.wrong.push(why),
        }
    }
}

enum Judged {
    Right,
    Killed,
    Wrong(String),
    Lost(String),
}

async fn single(store: &dyn Store, expected: &Expected<'_>, call: CallId, keys: Vec<Key>) -> Judged {
    let app = expected.app;
    let payload = body(store, &Key::Payload(app.clone(), call)).await.expect("every call has its payload");
    let sent: u64 = std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok()).expect("a number");
    if expected.calls.get(&call).is_some_and(|n| *n != sent) {
        return Judged::Wrong(format!("call {call} has the payload of {sent}"));
    }
    let Some(outcome) = read::<Outcome>(store, &Key::Status(app.clone(), call)).await else {
        // Whether its submitter was told so or not: what is stored is run.
        return Judged::Lost(format!("call {call} ({sent})"));
    };
    let result = match (outcome.attempt, &outcome.result) {
        (Some(attempt), Some(stored)) => {
            let body = body(store, &Key::Result(app.clone(), call, attempt)).await.unwrap_or_default();
            if (body.len() as u64, Digest::of(&body)) != (stored.bytes, stored.sha256.clone()) {
                return Judged::Wrong(format!("the result of call {call} is not what its outcome says"));
            }
            body
        }
        _ => Bytes::new(),
    };
    let marks = async {
        let mut alone = Vec::new();
        for mark in &keys {
            let Key::Started(_, _, delivery) = mark else { continue };
            let voided = keys.contains(&Key::Void(app.clone(), call, *delivery));
            let started: Started = read(store, mark).await.expect("it was listed");
            if started.kind.is_lone() && !voided {
                alone.push(started.worker);
            }
        }
        alone
    };
    let ended = Ended { status: outcome.status, reason: outcome.reason.as_deref(), result: &result };
    ended.judge(&format!("call {call}"), sent, expected, marks).await
}

/// An outcome, wherever it stands.
struct Ended<'a> {
    status: State,
    reason: Option<&'a str>,
    result: &'a [u8],
}

impl Ended<'_> {
    /// `alone`: by whom it was marked that it runs alone.
    async fn judge(
        &self,
        what: &str,
        sent: u64,
        expected: &Expected<'_>,
        alone: impl Future<Output = Vec<String>>,
    ) -> Judged {
        let is_right = match (self.status, (expected.right)(sent)) {
            (State::Success, Right::Answer(answer)) => self.reason.is_none() && self.result == answer,
            (State::Error, Right::Failure(why)) => self.reason == Some(&why) && self.result.is_empty(),
            (State::Killed, _) => {
                let lost =
                    alone.await.iter().filter(|worker| expected.lost_workers.contains(*worker)).count();
                if self.reason == Some(KILLED) && lost >= MARKS_MIN {
                    return Judged::Killed;
                }
                return Judged::Wrong(format!("{what} was killed with {lost} marks of lost workers"));
            }
            _ => false,
        };
        if is_right {
            return Judged::Right;
        }
        let Ended { status, reason, result } = self;
        let result = String::from_utf8_lossy(&result[..result.len().min(80)]);
        Judged::Wrong(format!("{what} ({sent}) is {status}, {reason:?}, `{result}`"))
    }
}

async fn one_batch(store: &dyn Store, expected: &Expected<'_>, batch: BatchId, audit: &mut Audit) {
    let app = expected.app;
    let there = keys(store, key::batch(app, batch)).await;
    let Some(definition) = read::<Batch>(store, &Key::Batch(app.clone(), batch)).await else {
        assert_eq!(there, [], "batch {batch} has no definition");
        audit.unbegun += 1;
        return;
    };
    let sealed = read::<Sealed>(store, &Key::Sealed(app.clone(), batch)).await;
    let summary = read::<Summary>(store, &Key::Summary(app.clone(), batch)).await;
    let fired = there.contains(&Key::Fired(app.clone(), batch));
    let (Some(sealed), Some(summary), true) = (sealed, summary, fired) else {
        audit.lost.push(format!("the end of batch {batch}"));
        return;
    };
    let parts: Vec<(u64, u64)> = there
        .iter()
        .filter_map(|key| if let Key::Part(_, _, last, part) = key { Some((*last, *part)) } else { None })
        .collect();
    audit.parts += parts.len() as u64;
    let rows = stream::iter(parts).map(async |(last, part)| {
        let key = Key::Part(app.clone(), batch, last, part);
        let file = body(store, &key).await.expect("it was listed");
        (last, Part::open(key, file).and_then(|part| part.all_rows()).expect("a part"))
    });
    let rows: Vec<(u64, Vec<Row>)> = rows.buffered(AT_ONCE).collect().await;
    let chunk_of: BTreeMap<u64, u64> = there
        .iter()
        .filter_map(|key| if let Key::Chunk(_, _, last) = key { Some(*last) } else { None })
        .scan(0, |before, last| Some((std::mem::replace(before, last) + 1, last)))
        .collect();
    let mut seen: BTreeMap<u64, State> = BTreeMap::new();
    for (last, row) in rows.iter().flat_map(|(last, rows)| rows.iter().map(move |row| (*last, row))) {
        let what = format!("call {} of batch {batch}", row.number);
        if seen.insert(row.number, row.status).is_some() {
            audit.doubled.push(what);
            continue;
        }
        if chunk_of.range(..=row.number).next_back().is_none_or(|(_, chunk)| *chunk != last) {
            audit.wrong.push(format!("{what} stands in the log of another chunk"));
        }
        audit.rows += 1;
        let result = result(store, app, batch, row).await;
        let ended = Ended { status: row.status, reason: row.error.as_deref(), result: &result };
        let sent = (expected.record)(&definition.source.location, row.number);
        let marks = alone(store, &there, row.number);
        match ended.judge(&what, sent, expected, marks).await {
            Judged::Right => {}
            Judged::Lost(which) => audit.lost.push(which),
            Judged::Killed => audit.killed += 1,
            Judged::Wrong(why) => audit.wrong.push(why),
        }
    }
    for number in (1..=sealed.last).filter(|number| !seen.contains_key(number)) {
        audit.lost.push(format!("call {number} of batch {batch}"));
    }
    let mut counts: BTreeMap<State, u64> = BTreeMap::new();
    for status in seen.values() {
        *counts.entry(*status).or_default() += 1;
    }
    if (summary.calls, &summary.counts) != (seen.len() as u64, &counts) {
        audit
            .wrong
            .push(format!("the summary of batch {batch} says {:?}, its rows {counts:?}", summary.counts));
    }
}

async fn result(store: &dyn Store, app: &AppName, batch: BatchId, row: &Row) -> Bytes {
    match &row.result {
        RowResult::None => Bytes::new(),
        RowResult::Inline(bytes) => bytes.clone(),
        RowResult::Stored { attempt, bytes, sha256 } => {
            let key = Key::BatchResult(app.clone(), batch, row.number, *attempt);
            let body = body(store, &key).await.unwrap_or_default();
            // Taken for another's when it is not what the row says.
            if (body.len() as u64, &Digest::of(&body)) == (*bytes, sha256) { body } else { Bytes::new() }
        }
    }
}

/// By whom it was marked that this call of a batch runs alone.
async fn alone(store: &dyn Store, there: &[Key], number: u64) -> Vec<String> {
    let mut alone = Vec::new();
    for key in there {
        let Key::Mark(app, batch, last, mark) = key else { continue };
        if there.contains(&Key::MarkVoid(app.clone(), *batch, *last, mark.delivery)) {
            continue;
        }
        let mark: Mark = read(store, key).await.expect("it was listed");
        let names_it = mark.calls.iter().any(|(first, last)| (*first..=*last).contains(&number));
        if mark.kind.is_lone() && names_it {
            alone.push(mark.worker);
        }
    }
    alone
}

/// Facts as they were seen, to be seen the same ever after.
#[derive(Default)]
pub struct Facts(BTreeMap<String, afn::seam::store::ETag>);

impl Facts {
    /// Everything of calls and batches; nothing of it may have changed or gone since the last look. How many there are.
    pub async fn look(&mut self, store: &dyn Store, app: &AppName) -> usize {
        let mut now = BTreeMap::new();
        for prefix in [key::calls(app), key::batches(app), key::pointers()] {
            let listed = store.list_all(List::all(prefix)).await.expect("a list");
            now.extend(listed.entries.into_iter().map(|entry| (entry.key, entry.etag)));
        }
        let changed: Vec<&String> =
            self.0.iter().filter(|(key, etag)| now.get(*key) != Some(*etag)).map(|(key, _)| key).collect();
        assert!(changed.is_empty(), "facts that changed or went: {changed:#?}");
        self.0 = now;
        self.0.len()
    }
}
