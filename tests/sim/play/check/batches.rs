//! Batches: every record stored once, every call decided once, in what belongs; the summary adds up.

use std::collections::{BTreeMap, BTreeSet};

use afn::layout::batch::{Cancelled, Fired, Sealed, Summary};
use afn::layout::chunk;
use afn::layout::part::{Part, Row, RowResult};
use afn::layout::{Key, key, object};
use afn::model::{BatchId, CallId, State};
use afn::seam::StoreExt as _;
use afn::seam::store::{ByteRange, ETag, List, Store as _};

use super::super::plan::Way;
use super::super::stage::{Execution, Stage, planned};
use super::attempts::History;
use super::{Invariant, Verdict, Violation};

/// What can be read of one batch.
#[derive(Debug, Clone, Default)]
struct OneBatch {
    rows: BTreeMap<u64, Row>,
    /// Of each number: which call of which plan it is.
    records: BTreeMap<u64, (usize, usize)>,
    summary: Option<Summary>,
    sealed: Option<Sealed>,
    fired: Option<Fired>,
    cancelled: Option<Cancelled>,
}

/// All that was read so far: facts never change, and a day is looked at hundreds of times.
#[derive(Debug, Default)]
pub struct Seen {
    facts: BTreeMap<String, ETag>,
    batches: BTreeMap<BatchId, OneBatch>,
}

fn unreadable(error: afn::Error) -> Violation {
    Invariant::Truthful.broken(error.to_string())
}

impl Seen {
    /// Takes in what is new. Invariants 1 and 3: nothing changes, nothing goes, no call is decided twice.
    pub async fn look(&mut self, stage: &Stage) -> Verdict {
        let store = &stage.world.store;
        let listed =
            store.list_all(List::all(key::batches(&stage.app))).await.expect("the store never fails");
        let mut there = 0;
        for entry in listed.entries {
            if let Some(etag) = self.facts.get(&entry.key) {
                there += 1;
                if *etag != entry.etag {
                    return Err(Invariant::OneOutcome.broken(format!("{} has changed", entry.key)));
                }
                continue;
            }
            let key: Key = entry.key.parse().expect("only keys of the layout are written");
            let of_interest = matches!(
                key,
                Key::Batch(..)
                    | Key::Chunk(..)
                    | Key::Part(..)
                    | Key::Summary(..)
                    | Key::Sealed(..)
                    | Key::Fired(..)
                    | Key::Cancelled(..)
            );
            if of_interest {
                let body = store
                    .get(&entry.to_key(), ByteRange::Whole(u64::MAX))
                    .await
                    .expect("it was just listed")
                    .body;
                self.take_in(key, &entry.key, body)?;
                self.facts.insert(entry.key, entry.etag);
                there += 1;
            }
        }
        if there < self.facts.len() {
            return Err(Invariant::OneOutcome.broken("a fact of a batch is gone"));
        }
        self.all_belong()
    }

    fn take_in(&mut self, key: Key, name: &str, body: bytes::Bytes) -> Verdict {
        match key {
            Key::Batch(_, batch) => drop(self.batches.entry(batch).or_default()),
            Key::Chunk(_, batch, _) => {
                let seen = self.batches.entry(batch).or_default();
                for record in chunk::decode(name, body).map_err(unreadable)? {
                    let planned = planned(&record.payload).expect("a record leads to its plan");
                    if seen.records.insert(record.number, planned).is_some() {
                        let what = format!("record {} of {batch} lies in two chunks", record.number);
                        return Err(Invariant::OneOutcome.broken(what));
                    }
                }
            }
            Key::Part(_, batch, ..) => {
                let rows = Part::open(name, body).and_then(|part| part.all_rows()).map_err(unreadable)?;
                let seen = self.batches.entry(batch).or_default();
                for row in rows {
                    if let Some(first) = seen.rows.insert(row.number, row.clone()) {
                        let what = format!("{name} decides again what was decided: {first:?}, {row:?}");
                        return Err(Invariant::OneOutcome.broken(what));
                    }
                }
            }
            Key::Summary(_, batch) => {
                let summary = object::decode(name, &body).map_err(unreadable)?;
                self.batches.entry(batch).or_default().summary = Some(summary);
            }
            Key::Sealed(_, batch) => {
                let sealed = object::decode(name, &body).map_err(unreadable)?;
                self.batches.entry(batch).or_default().sealed = Some(sealed);
            }
            Key::Fired(_, batch) => {
                let fired = object::decode(name, &body).map_err(unreadable)?;
                self.batches.entry(batch).or_default().fired = Some(fired);
            }
            Key::Cancelled(_, batch) => {
                let cancelled = object::decode(name, &body).map_err(unreadable)?;
                self.batches.entry(batch).or_default().cancelled = Some(cancelled);
            }
            _ => {}
        }
        Ok(())
    }

    /// Invariant 3: a call that has an outcome does not stop belonging (N4).
    fn all_belong(&self) -> Verdict {
        for (batch, seen) in &self.batches {
            let Some(sealed) = &seen.sealed else { continue };
            if let Some(number) = seen.rows.keys().find(|number| !sealed.belongs(**number)) {
                let what = format!("call {number} of {batch} has an outcome and does not belong: {sealed:?}");
                return Err(Invariant::OneOutcome.broken(what));
            }
        }
        Ok(())
    }

    pub fn with(&self, status: State) -> impl Iterator<Item = (BatchId, u64)> + '_ {
        self.batches.iter().flat_map(move |(batch, seen)| {
            let rows = seen.rows.values().filter(move |row| row.status == status);
            rows.map(|row| (*batch, row.number))
        })
    }

    pub fn count(&self, status: State) -> u64 {
        self.with(status).count() as u64
    }

    /// Those that are over, with their follow-ups.
    pub fn fired(&self) -> BTreeMap<BatchId, Option<CallId>> {
        let fired = self.batches.iter().filter_map(|(batch, seen)| Some((*batch, seen.fired.as_ref()?.then)));
        fired.collect()
    }

    /// Invariant 4: batches that are to come to their end.
    pub fn owed(&self, stage: &Stage) -> BTreeSet<BatchId> {
        let told = stage.told();
        let begun = told.batches.keys().chain(told.retries.keys()).copied();
        begun.filter(|batch| self.batches.get(batch).is_none_or(|seen| seen.fired.is_none())).collect()
    }

    /// What is decided is what was asked for, and what executions gave.
    pub async fn truthful(&self, stage: &Stage) -> Verdict {
        let executions = stage.executions();
        for (batch, seen) in &self.batches {
            self.records_are_the_source(stage, *batch, seen)?;
            summary_adds_up(*batch, seen)?;
            nothing_started_before_it_was_stopped(stage, *batch, seen)?;
            for row in seen.rows.values() {
                true_row(stage, &executions, *batch, seen, row)?;
                let (index, planned) = seen.records[&row.number];
                let plan = &stage.plan.batches[index];
                let call = batch.call(row.number);
                let history = History::of(stage, &executions, call, plan.function, plan.ways[planned]);
                history.check(row.status, row.attempts)?;
            }
            let (own, then) =
                (stage.told().batches.get(batch).copied(), seen.fired.as_ref().map(|fired| fired.then));
            let wanted = own.is_some_and(|index| stage.plan.batches[index].then);
            if let Some(then) = then.filter(|_| own.is_some())
                && then.is_some() != wanted
            {
                return Err(Invariant::Truthful.broken(format!("{batch} is followed by {then:?}")));
            }
        }
        Ok(())
    }

    /// Every record of the source is a call, under its number; unless somebody ended the batch before.
    fn records_are_the_source(&self, stage: &Stage, batch: BatchId, seen: &OneBatch) -> Verdict {
        let told = stage.told().clone();
        let wrong = |what: String| Err(Invariant::NothingLost.broken(what));
        let expected: Vec<(usize, usize)> = if let Some(index) = told.batches.get(&batch) {
            (0..stage.plan.batches[*index].ways.len()).map(|call| (*index, call)).collect()
        } else if let Some(parent) = told.retries.get(&batch) {
            let parent = &self.batches[parent];
            let retried = parent.rows.values().filter(|row| is_retried(row.status));
            retried.map(|row| parent.records[&row.number]).collect()
        } else {
            return Ok(());
        };
        for (number, record) in &seen.records {
            if expected.get(*number as usize - 1) != Some(record) {
                return wrong(format!("record {number} of {batch} is {record:?}, its source {expected:?}"));
            }
        }
        let Some(sealed) = &seen.sealed else { return Ok(()) };
        let ended = is_cancelled(stage, batch, seen) || told.sealed_batches.contains(&batch);
        if !ended && sealed.calls() != expected.len() as u64 {
            return wrong(format!("{batch} has {} calls, its source {}", sealed.calls(), expected.len()));
        }
        let belonging = (1..=sealed.last).filter(|number| sealed.belongs(*number));
        match belonging.into_iter().find(|number| !seen.records.contains_key(number)) {
            Some(number) => wrong(format!("call {number} belongs to {batch} and is stored nowhere")),
            None => Ok(()),
        }
    }
}

fn is_retried(status: State) -> bool {
    matches!(status, State::Error | State::Timeout | State::Killed | State::Cancelled)
}

fn is_cancelled(stage: &Stage, batch: BatchId, seen: &OneBatch) -> bool {
    // Because none of its calls could be started.
    if seen.cancelled.as_ref().is_some_and(|cancelled| cancelled.by == "starts") {
        return true;
    }
    let told = stage.told();
    let brake =
        told.batches.get(&batch).is_some_and(|index| stage.plan.batches[*index].max_failures.is_some());
    brake || told.cancelled_batches.contains(&batch)
}

/// A minute is a flush and a look.
const HEARD_MS: u64 = 60_000;

/// A batch is stopped because its function cannot be started: then it never was, as far as the store told.
fn nothing_started_before_it_was_stopped(stage: &Stage, batch: BatchId, seen: &OneBatch) -> Verdict {
    let stopped = seen.cancelled.as_ref().filter(|cancelled| stage.plan.calm && cancelled.by == "starts");
    let Some(cancelled) = stopped else { return Ok(()) };
    let has_run =
        |row: &&Row| row.status == State::Success && row.completed_at.plus_ms(HEARD_MS) < cancelled.at;
    match seen.rows.values().find(has_run) {
        Some(row) => Err(Invariant::Truthful.broken(format!("{batch} was {cancelled:?} after {row:?}"))),
        None => Ok(()),
    }
}

fn summary_adds_up(batch: BatchId, seen: &OneBatch) -> Verdict {
    let Some(summary) = &seen.summary else { return Ok(()) };
    let wrong = |what: String| Err(Invariant::Truthful.broken(what));
    let Some(sealed) = &seen.sealed else { return wrong(format!("{batch} has a summary and no seal")) };
    let mut counts: BTreeMap<State, u64> = BTreeMap::new();
    for number in (1..=sealed.last).filter(|number| sealed.belongs(*number)) {
        let Some(row) = seen.rows.get(&number) else {
            return wrong(format!("{batch} has a summary, but call {number} has no outcome"));
        };
        *counts.entry(row.status).or_default() += 1;
    }
    if summary.counts != counts || summary.calls != sealed.calls() {
        return wrong(format!("the summary of {batch} says {summary:?}, its rows {counts:?}"));
    }
    Ok(())
}

fn true_row(stage: &Stage, executions: &[Execution], batch: BatchId, seen: &OneBatch, row: &Row) -> Verdict {
    let call = batch.call(row.number);
    let Some((index, planned)) = seen.records.get(&row.number) else {
        return Err(Invariant::Truthful.broken(format!("{call} has an outcome and is stored nowhere")));
    };
    let way = stage.plan.batches[*index].ways[*planned];
    let wrong = |why: &str| {
        let what = format!("call {} of {batch} ({way:?}) {why}: {row:?}", row.number);
        Err(Invariant::Truthful.broken(what))
    };
    let mut executed =
        executions.iter().filter(|execution| execution.call == call && execution.attempt == row.attempts);
    let result = match &row.result {
        RowResult::Inline(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        RowResult::None => None,
        RowResult::Stored { .. } => return wrong("has a large result"),
    };
    match row.status {
        State::Success => {
            let gave = |execution: &Execution| Some(&execution.body) == result.as_ref();
            if !executed.any(|execution| execution.ends == State::Success && gave(execution)) {
                return wrong("has a result that no execution of that attempt gave");
            }
        }
        State::Error if matches!(way, Way::CannotStart | Way::StartsOnOdd) => {
            if row.error.as_deref() != Some("image not found: nosuch") {
                return wrong("does not say why");
            }
        }
        State::Error => {
            let said = |execution: &Execution| {
                row.error.as_deref() == Some(&format!("exit code 3 {0}: log of {0}", execution.body))
            };
            if !executed.any(|execution| execution.ends == State::Error && said(execution)) {
                return wrong("failed as no execution of that attempt did");
            }
        }
        State::Timeout if executed.any(|execution| execution.ends == State::Timeout) => {}
        State::Timeout => return wrong("timed out though its function does not run long"),
        State::Killed if way == Way::Kills || stage.plan.disturbances >= 3 => {}
        State::Killed => return wrong("is innocent"),
        State::Cancelled
            if is_cancelled(stage, batch, seen) || stage.told().cancelled_calls.contains(&call) => {}
        State::Cancelled => return wrong("was cancelled by nobody"),
        State::Delayed | State::Queued | State::Running => return wrong("is recorded as not final"),
    }
    Ok(())
}
