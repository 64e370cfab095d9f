//! The data of a report, from one pass over the rows of a batch. Its size does not grow with the batch.

use std::collections::BTreeMap;

use super::bins::{Durations, TimeBins};
use crate::error::{Error, Result};
use crate::layout::part::Row;
use crate::model::{CallId, State, Time};
use crate::results::reasons::Reasons;
use crate::results::rows::{ResultRow, Rows};

/// Up to this many calls are drawn one by one. For more, the plot shows how busy each worker was.
pub(super) const DRAWN_MAX: usize = 1_500;
/// Workers with rows of their own; the others share one.
const WORKERS_MAX: usize = 48;
const SLOWEST: usize = 8;
pub(super) const OTHERS: &str = "other workers";

/// The states that a decided call can be in, in the order in which they are stacked.
pub(super) const FINAL: [State; 5] =
    [State::Success, State::Error, State::Timeout, State::Killed, State::Cancelled];

#[derive(Debug, Default)]
pub struct ReportData {
    /// When the batch was made: where the time lines begin.
    pub(super) origin: Time,
    pub(super) calls: u64,
    pub(super) counts: BTreeMap<State, u64>,
    pub(super) attempts: u64,
    pub(super) run_ms: u64,
    /// Decided in each stretch of time, by state.
    pub(super) decided: TimeBins<5>,
    pub(super) workers: BTreeMap<String, Worker>,
    pub(super) durations: Durations,
    pub(super) waits: Durations,
    pub(super) starts: Durations,
    pub(super) reasons: Reasons,
    /// Each call, as long as there are few.
    pub(super) drawn: Vec<DrawnCall>,
    /// Names the objects that cannot be read, and counts the calls that are missing because of them.
    pub incomplete: Option<Error>,
    /// The slowest first.
    pub(super) slowest: Vec<(u64, CallId, State)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Worker {
    pub calls: u64,
    pub failed: u64,
    pub run_ms: u64,
    pub busy: TimeBins<1>,
    pub first_ms: Option<u64>,
    pub last_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct DrawnCall {
    pub worker: String,
    pub call: CallId,
    pub status: State,
    pub from_ms: u64,
    pub run_ms: u64,
    pub attempts: u32,
}

/// The sort key of a worker: `worker-10` comes after `worker-9`, the shared row of other workers last.
pub(super) type Order<'a> = (bool, &'a str, u64, &'a str);

pub(super) fn order(worker: &str) -> Order<'_> {
    let stem = worker.trim_end_matches(|c: char| c.is_ascii_digit());
    (worker == OTHERS, stem, worker[stem.len()..].parse().unwrap_or_default(), worker)
}

impl ReportData {
    pub(super) fn in_order(&self) -> Vec<(&str, &Worker)> {
        let mut workers: Vec<_> = self.workers.iter().map(|(name, worker)| (name.as_str(), worker)).collect();
        workers.sort_by_key(|(name, _)| order(name));
        workers
    }

    pub async fn of(mut rows: Rows, origin: Time) -> Result<ReportData> {
        let mut data = ReportData { origin, ..ReportData::default() };
        while let Some(block) = rows.next_readable().await? {
            block.iter().for_each(|row| data.add(row));
        }
        data.incomplete = rows.check_complete(&[]).err();
        Ok(data)
    }

    pub(super) fn add(&mut self, row: &ResultRow) {
        self.calls += 1;
        *self.counts.entry(row.status).or_default() += 1;
        self.reasons.add(row);
        let Some(outcome) = &row.outcome else { return };
        self.attempts += u64::from(outcome.attempts);
        self.run_ms += outcome.run_ms;
        let kind = FINAL.iter().position(|state| *state == row.status).unwrap_or_default();
        self.decided.add(outcome.completed_at.since_ms(self.origin), kind, 1);
        let Some(started_at) = outcome.started_at else { return };
        self.ran(row, outcome, started_at.since_ms(self.origin));
    }

    /// Adds a call that was executed.
    fn ran(&mut self, row: &ResultRow, outcome: &Row, from_ms: u64) {
        self.durations.add(outcome.run_ms);
        self.waits.add(outcome.queued_ms);
        self.starts.add(outcome.start_ms);
        let is_known = self.workers.contains_key(&*outcome.worker) || self.workers.len() < WORKERS_MAX;
        let name = if is_known { &*outcome.worker } else { OTHERS };
        // The key is allocated only for a worker's first call.
        let worker = match self.workers.get_mut(name) {
            Some(worker) => worker,
            None => self.workers.entry(name.to_owned()).or_default(),
        };
        worker.calls += 1;
        worker.failed += u64::from(row.status != State::Success);
        worker.run_ms += outcome.run_ms;
        worker.busy.add_stretch(from_ms, from_ms + outcome.run_ms.max(1), 0);
        worker.first_ms = Some(worker.first_ms.map_or(from_ms, |first| first.min(from_ms)));
        worker.last_ms = worker.last_ms.max(from_ms + outcome.run_ms);
        if self.calls as usize <= DRAWN_MAX {
            self.drawn.push(DrawnCall {
                worker: name.to_owned(),
                call: row.call,
                status: row.status,
                from_ms,
                run_ms: outcome.run_ms,
                attempts: outcome.attempts,
            });
        } else {
            self.drawn = Vec::new();
        }
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|(ms, ..)| outcome.run_ms > *ms) {
            let place = self.slowest.partition_point(|(ms, ..)| *ms >= outcome.run_ms);
            self.slowest.insert(place, (outcome.run_ms, row.call, row.status));
            self.slowest.truncate(SLOWEST);
        }
    }

    /// The time of all workers together, each from its first call to its last.
    pub fn worker_ms(&self) -> Option<u64> {
        let spans = self.workers.values().filter_map(|worker| Some(worker.last_ms - worker.first_ms?));
        let sum: u64 = spans.sum();
        (sum > 0).then_some(sum)
    }

    /// From the making of the batch to its last outcome.
    pub(super) fn end_ms(&self) -> u64 {
        let last = self.workers.values().map(|worker| worker.last_ms).max().unwrap_or_default();
        last.max(self.last_decided_ms())
    }

    fn last_decided_ms(&self) -> u64 {
        self.decided.end_ms().saturating_sub(self.decided.width_ms / 2)
    }

    pub(super) fn count(&self, state: State) -> u64 {
        self.counts.get(&state).copied().unwrap_or_default()
    }

    pub(super) fn failed(&self) -> u64 {
        crate::outcomes::failed(&self.counts)
    }
}
