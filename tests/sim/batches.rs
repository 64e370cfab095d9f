//! Batches: the production submitter, ranges, splits, careful mode and supervisors under the same bad days.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::layout::batch::{Cancelled, Chunking, Fired, MaxFailures, Sealed, Summary, Then};
use afn::layout::part::{Part, Row, RowResult};
use afn::layout::{Key, key, object};
use afn::model::{BatchId, CallId, State};
use afn::seam::StoreExt as _;
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::seam::store::{ETag, List, PutObject, Range, Store as _};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source;
use bytes::Bytes;

use super::workload::{Execution, Stage, Way};

#[derive(Debug, Clone)]
pub struct BatchPlan {
    pub function: &'static str,
    pub ways: Vec<Way>,
    pub takes: Duration,
    pub at: Duration,
    pub chunking: Chunking,
    pub cancel_after: Option<Duration>,
    pub then: bool,
    pub max_failures: Option<MaxFailures>,
}

impl BatchPlan {
    pub fn draw(rng: &SeededRng) -> BatchPlan {
        let poison = rng.below(2) == 0;
        let calls = 1 + rng.below(60);
        let ways = (0..calls).map(|_| match rng.below(24) {
            0 => Way::Fails,
            1 => Way::FailsFirst(1 + rng.below(2) as u32),
            2 => Way::RunsTooLong,
            3 if poison => Way::Kills,
            4 => Way::CannotStart,
            _ => Way::Answers,
        });
        let ways = ways.collect();
        let chance = |of: u64| rng.below(of) == 0;
        BatchPlan {
            function: if chance(2) { "patient" } else { "once" },
            ways,
            takes: Duration::from_millis([0, 200, 5_000, 20_000][rng.below(4) as usize]),
            at: Duration::from_millis(rng.below(60_000)),
            chunking: Chunking {
                v: 1,
                calls_min: 1 + rng.below(8),
                calls_max: 16,
                chunks_per_doubling: 1 + rng.below(4),
                bytes_max: 1 << 20,
            },
            cancel_after: chance(6).then(|| Duration::from_millis(rng.below(120_000))),
            then: chance(3),
            max_failures: chance(6).then(|| MaxFailures::Count(1 + rng.below(4))),
        }
    }
}

/// A payload that leads back to its plan.
pub fn payload(batch: usize, index: usize) -> String {
    format!("b {batch} {index}")
}

/// The plan of a payload made by [`payload`].
pub fn planned(payload: &Bytes) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(payload).ok()?;
    let (batch, index) = text.strip_prefix("b ")?.split_once(' ')?;
    Some((batch.parse().ok()?, index.parse().ok()?))
}

impl Stage {
    /// Submits a batch, and resumes nothing: a submission that fails leaves a batch that only a cancel can end.
    pub async fn batcher(self, index: usize) {
        let plan = self.plan.batches[index].clone();
        tokio::time::sleep(plan.at).await;
        let lines: Vec<String> = (0..plan.ways.len()).map(|call| payload(index, call)).collect();
        let process = self.world.process(&format!("batcher {index}"));
        let format = "lines".parse().expect("a format");
        let request = BatchRequest {
            app: self.app.clone(),
            route: format!("/{}", plan.function).parse().expect("a valid route"),
            source: source::text(lines.join("\n"), format, "lines"),
            options: BatchOptions {
                chunking: plan.chunking,
                max_failures: plan.max_failures,
                then: plan
                    .then
                    .then(|| Then { app: self.app.clone(), route: "/once".parse().expect("a route") }),
                ..BatchOptions::default()
            },
        };
        let begun = std::sync::Mutex::new(None);
        let submitted = submit(&process.seams, request, &|progress| {
            begun.lock().expect("no holder panics").get_or_insert(progress.batch);
        })
        .await;
        let begun = begun.into_inner().expect("no holder panics");
        self.world.journal.note(format!("batch {index}: {submitted:?}"));
        let Some(batch) = begun.or(submitted.as_ref().ok().map(|submitted| submitted.batch)) else { return };
        self.told.lock().expect("no holder panics").batches.insert(batch, index);
        let cancel_after = match submitted {
            Ok(_) => plan.cancel_after,
            Err(_) => Some(Duration::from_secs(5)),
        };
        let Some(after) = cancel_after else { return };
        tokio::time::sleep(after).await;
        self.cancel_batch(batch).await;
    }

    async fn cancel_batch(&self, batch: BatchId) {
        let process = self.world.process(&format!("canceller of {batch}"));
        let cancelled = Cancelled {
            v: 1,
            by: "the simulation".to_owned(),
            reason: "cancelled by the simulation".to_owned(),
            at: process.seams.now(),
        };
        let key = Key::Cancelled(self.app.clone(), batch).to_string();
        self.told.lock().expect("no holder panics").cancelled_batches.push(batch);
        while let Err(error) =
            process.seams.store.put(&key, PutObject::create(object::encode(&cancelled))).await
        {
            if error == afn::seam::StoreError::Exists {
                return;
            }
        }
    }
}

/// What can be read of one batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenBatch {
    /// By number, with the part that decides it.
    pub rows: BTreeMap<u64, (u64, u64, Row)>,
    pub summary: Option<Summary>,
    pub sealed: Option<Sealed>,
    pub fired: Option<Fired>,
}

/// Parts that were read: they never change, and a run looks hundreds of times.
#[derive(Debug, Clone, Default)]
pub struct Read {
    parts: BTreeMap<String, (ETag, Vec<Row>)>,
    batches: BTreeMap<BatchId, SeenBatch>,
}

/// Takes in what is new. A fact that has changed or gone, and a call decided twice, are violations (invariants 1, 3).
pub async fn look(stage: &Stage, read: &mut Read) -> Result<(), String> {
    let store = &stage.world.store;
    let listed = store.list_all(List::all(key::batches(&stage.app))).await.expect("the store never fails");
    let mut parts = 0;
    for entry in listed.entries {
        let key = entry.key.parse().expect("only keys of the layout are written");
        if let Some((etag, _)) = read.parts.get(&entry.key) {
            parts += 1;
            if *etag != entry.etag {
                return Err(format!("{} has changed", entry.key));
            }
            continue;
        }
        let fact = match key {
            Key::Batch(_, batch) => {
                read.batches.entry(batch).or_default();
                continue;
            }
            Key::Part(..) | Key::Summary(..) | Key::Sealed(..) | Key::Fired(..) => key,
            _ => continue,
        };
        let body = store.get(&entry.key, Range::All).await.expect("it was just listed").body;
        match fact {
            Key::Part(_, batch, chunk, number) => {
                let part = Part::open(&entry.key, body).map_err(|error| error.to_string())?;
                let rows = part.all_rows().map_err(|error| error.to_string())?;
                let seen = read.batches.entry(batch).or_default();
                for row in &rows {
                    if let Some((_, _, first)) = seen.rows.insert(row.number, (chunk, number, row.clone())) {
                        return Err(format!(
                            "{} decides again what was decided: {first:?}, {row:?}",
                            entry.key
                        ));
                    }
                }
                read.parts.insert(entry.key, (entry.etag, rows));
                parts += 1;
            }
            Key::Summary(_, batch) => {
                let summary: Summary =
                    object::decode(&entry.key, &body).map_err(|error| error.to_string())?;
                let before = read.batches.entry(batch).or_default().summary.replace(summary.clone());
                if before.is_some_and(|before| before != summary) {
                    return Err(format!("{} has changed", entry.key));
                }
            }
            Key::Sealed(_, batch) => {
                let sealed = object::decode(&entry.key, &body).map_err(|error| error.to_string())?;
                read.batches.entry(batch).or_default().sealed = Some(sealed);
            }
            Key::Fired(_, batch) => {
                let fired = object::decode(&entry.key, &body).map_err(|error| error.to_string())?;
                read.batches.entry(batch).or_default().fired = Some(fired);
            }
            _ => {}
        }
    }
    if parts < read.parts.len() {
        return Err("a part of a log is gone".to_owned());
    }
    Ok(())
}

/// Batches that are to come to their end. One whose definition was never written is none.
pub fn owed(stage: &Stage, read: &Read) -> Vec<BatchId> {
    let batches = &read.batches;
    let told = stage.told.lock().expect("no holder panics");
    told.batches
        .keys()
        .copied()
        .filter(|batch| batches.get(batch).is_some_and(|seen| seen.fired.is_none()))
        .collect()
}

pub fn truthful(stage: &Stage, read: &Read) -> Result<(), String> {
    let told = stage.told.lock().expect("no holder panics").clone();
    let executions = stage.executions.lock().expect("no holder panics").clone();
    for (batch, seen) in &read.batches {
        let Some(index) = told.batches.get(batch) else { continue };
        let plan = &stage.plan.batches[*index];
        let cancelled = told.cancelled_batches.contains(batch) || plan.max_failures.is_some();
        let Some(sealed) = &seen.sealed else { continue };
        if !cancelled && sealed.calls() != plan.ways.len() as u64 {
            return Err(format!("{batch} has {} calls, its source {}", sealed.calls(), plan.ways.len()));
        }
        if let Some(summary) = &seen.summary {
            let mut counts: BTreeMap<State, u64> = BTreeMap::new();
            for number in (1..=sealed.last).filter(|number| sealed.belongs(*number)) {
                let Some((_, _, row)) = seen.rows.get(&number) else {
                    return Err(format!("{batch} has a summary, but call {number} has no outcome"));
                };
                *counts.entry(row.status).or_default() += 1;
            }
            if summary.counts != counts || summary.calls != sealed.calls() {
                return Err(format!("the summary of {batch} says {summary:?}, its rows {counts:?}"));
            }
        }
        for (number, (_, _, row)) in &seen.rows {
            let call = batch.call(*number);
            let way = plan.ways[*number as usize - 1];
            let wrong = |why: &str| Err(format!("call {number} of {batch} ({way:?}) {why}: {row:?}"));
            let mut executed = executions
                .iter()
                .filter(|execution| execution.call == call && execution.attempt == row.attempts);
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
                State::Error if way == Way::CannotStart => {
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
                State::Cancelled if cancelled => {}
                State::Cancelled => return wrong("was cancelled by nobody"),
                State::Delayed | State::Queued | State::Running => return wrong("is recorded as not final"),
            }
        }
        let follows = seen.fired.as_ref().map(|fired| fired.then);
        if plan.then && follows.is_some_and(|then| then != Some(CallId::following(*batch))) {
            return Err(format!("{batch} is followed by {follows:?}"));
        }
    }
    Ok(())
}
