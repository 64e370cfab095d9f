//! How a batch stands: a pure function of its facts and of what its logs' last footers tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::facts::Facts;
use crate::layout::batch::{BatchSource, Cancelled, Fired, SEALED_BY_SUBMITTER, Sealed, Summary};
use crate::model::{AppName, BatchId, FunctionName, Route, State, Time, VersionId};
use crate::outcomes::Logs;

/// What is known of a batch. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchView {
    #[serde(rename = "batch_id")]
    pub batch: BatchId,
    pub app: AppName,
    /// `None` where the batch was deleted and only its summary is left.
    pub function: Option<FunctionName>,
    pub route: Option<Route>,
    pub version: Option<VersionId>,
    pub source: Option<BatchSource>,
    pub status: BatchStatus,
    /// Why it was cancelled.
    pub reason: Option<String>,
    /// How many calls it has; not known before it is sealed.
    pub calls: Option<u64>,
    /// The number of the last call that is stored; some before it may still be on their way.
    pub stored: u64,
    pub decided: u64,
    /// The decided ones, by how they ended.
    pub counts: BTreeMap<State, u64>,
    /// The function's own time of all of them.
    pub run_ms: u64,
    pub chunks: u64,
    pub parts: u64,
    /// Requests that workers have spent, by operation.
    pub requests: BTreeMap<String, u64>,
    /// Workers that wrote the last part of a log.
    pub workers: BTreeSet<String>,
    /// When outcomes were last recorded, by the store's clock.
    pub heard_at: Option<Time>,
    pub created_at: Time,
    pub sealed: Option<Sealed>,
    pub cancelled: Option<Cancelled>,
    pub summary: Option<Summary>,
    pub fired: Option<Fired>,
    /// Made of the failures of that batch.
    pub retry_of: Option<BatchId>,
    /// Made of this one's failures.
    pub retries: Vec<BatchId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchStatus {
    /// Its source is being read; workers may be at it already.
    Submitting,
    /// Submitted whole, and nothing of it is decided.
    Queued,
    Running,
    /// Cancel was asked for, and not everything is decided.
    Cancelling,
    /// Every call succeeded.
    Success,
    /// Everything is decided, and some calls failed.
    Failed,
    /// It was stopped before it came to its end.
    Cancelled,
}

impl BatchStatus {
    pub fn is_final(self) -> bool {
        match self {
            BatchStatus::Success | BatchStatus::Failed | BatchStatus::Cancelled => true,
            BatchStatus::Submitting
            | BatchStatus::Queued
            | BatchStatus::Running
            | BatchStatus::Cancelling => false,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            BatchStatus::Submitting => "submitting",
            BatchStatus::Queued => "queued",
            BatchStatus::Running => "running",
            BatchStatus::Cancelling => "cancelling",
            BatchStatus::Success => "success",
            BatchStatus::Failed => "failed",
            BatchStatus::Cancelled => "cancelled",
        }
    }

    /// Of a batch of which every call is decided. One that was cancelled when it had come to its end already shows how
    /// it ended (R3).
    pub(super) fn ended(
        counts: &BTreeMap<State, u64>,
        was_cancelled: bool,
        sealed: Option<&Sealed>,
    ) -> BatchStatus {
        let count = |state: State| counts.get(&state).copied().unwrap_or_default();
        let in_part = sealed.is_none_or(|sealed| sealed.by != SEALED_BY_SUBMITTER);
        if was_cancelled && (count(State::Cancelled) > 0 || in_part) {
            return BatchStatus::Cancelled;
        }
        match (failed(counts), count(State::Cancelled)) {
            (0, 0) => BatchStatus::Success,
            (0, _) => BatchStatus::Cancelled,
            _ => BatchStatus::Failed,
        }
    }
}

impl fmt::Display for BatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Calls that failed by themselves.
pub fn failed(counts: &BTreeMap<State, u64>) -> u64 {
    [State::Error, State::Timeout, State::Killed].iter().filter_map(|state| counts.get(state)).sum()
}

impl BatchView {
    pub fn failed(&self) -> u64 {
        failed(&self.counts)
    }

    /// Calls that are stored and not decided, as far as is known.
    pub fn open(&self) -> u64 {
        self.calls.unwrap_or(self.stored).saturating_sub(self.decided)
    }

    pub(super) fn of(app: &AppName, id: BatchId, facts: &Facts, logs: Option<&Logs>) -> BatchView {
        let sealed = facts.sealed.as_ref();
        let belonging = || logs.into_iter().flat_map(|logs| logs.belonging(sealed));
        let counts = match &facts.summary {
            Some(summary) => summary.counts.clone(),
            None => logs.map(|logs| logs.counts(sealed)).unwrap_or_default(),
        };
        let last_seen = logs.and_then(|logs| logs.ranges().last()).map_or(0, |(_, last, _)| last);
        let parts =
            facts.summary.as_ref().map_or_else(|| belonging().map(|log| log.parts()).sum(), |it| it.parts);
        let batch = facts.batch.as_ref();
        let was_cancelled = match &facts.summary {
            Some(summary) => summary.cancelled.is_some(),
            None => facts.cancelled.is_some(),
        };
        let is_decided =
            facts.summary.is_some() || sealed.zip(logs).is_some_and(|(sealed, logs)| logs.is_decided(sealed));
        let status = if is_decided {
            BatchStatus::ended(&counts, was_cancelled, sealed)
        } else if was_cancelled {
            BatchStatus::Cancelling
        } else if sealed.is_none() {
            BatchStatus::Submitting
        } else if parts == 0 {
            BatchStatus::Queued
        } else {
            BatchStatus::Running
        };
        BatchView {
            batch: id,
            app: app.clone(),
            function: batch.map(|batch| batch.function.clone()),
            route: batch.map(|batch| batch.route.clone()),
            version: batch.map(|batch| batch.version.clone()),
            source: batch.map(|batch| batch.source.clone()),
            status,
            reason: facts
                .cancelled
                .as_ref()
                .map(|cancelled| cancelled.reason.clone())
                .or_else(|| facts.summary.as_ref()?.cancelled.clone()),
            calls: facts.summary.as_ref().map(|summary| summary.calls).or_else(|| Some(sealed?.calls())),
            stored: sealed.map_or(last_seen, |sealed| sealed.last),
            decided: counts.values().sum(),
            run_ms: facts
                .summary
                .as_ref()
                .map_or_else(|| belonging().map(|log| log.run_ms()).sum(), |summary| summary.run_ms),
            chunks: belonging().count() as u64,
            parts,
            requests: match &facts.summary {
                Some(summary) => summary.requests.clone(),
                None => logs.map(|logs| logs.requests(sealed)).unwrap_or_default(),
            },
            workers: belonging().filter_map(|log| log.worker()).map(str::to_owned).collect(),
            heard_at: logs.and_then(Logs::heard_at),
            counts,
            created_at: batch.map_or_else(|| id.time(), |batch| batch.created_at),
            sealed: facts.sealed.clone(),
            cancelled: facts.cancelled.clone(),
            summary: facts.summary.clone(),
            fired: facts.fired.clone(),
            retry_of: batch.and_then(|batch| batch.retry_of),
            retries: facts.retries.clone(),
        }
    }
}
