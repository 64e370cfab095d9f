//! The view of a batch: a pure function of its facts and the last footers of its logs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::layout::batch::{BatchSource, Cancelled, Deleted, Fired, Sealed, Summary};
use crate::layout::control::Control;
use crate::model::{AppName, BatchId, BatchLimits, BatchRef, FunctionName, Route, State, Time, VersionId};
use crate::outcomes::{BatchFacts, BatchStatus, Log, Logs, failed};

/// A batch. The field names are those of `--output json`: keep stable.
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
    /// The decided calls by state.
    pub counts: BTreeMap<State, u64>,
    /// The function's own time, the sum over all decided calls.
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
    /// What was last asked of it while it ran.
    pub control: Option<Control>,
    /// That hold now.
    pub limits: BatchLimits,
    pub summary: Option<Summary>,
    pub fired: Option<Fired>,
    /// When and why its content was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// Made of the failures of that batch.
    pub retry_of: Option<BatchId>,
    /// Made of this one's failures.
    pub retries: Vec<BatchId>,
}

impl BatchView {
    pub fn failed(&self) -> u64 {
        failed(&self.counts)
    }

    /// Calls that are stored and not decided, as far as is known.
    pub fn open(&self) -> u64 {
        self.calls.unwrap_or(self.stored).saturating_sub(self.decided)
    }

    /// Calls decided a second, on average since the batch was submitted. `None` while none is decided.
    pub fn pace_per_s(&self) -> Option<f64> {
        let ms = self.heard_at?.since_ms(self.created_at).max(1);
        (self.decided > 0).then(|| self.decided as f64 * 1_000.0 / ms as f64)
    }

    /// When the stored calls will be decided, at the average pace.
    pub fn ends_at(&self) -> Option<Time> {
        let left_ms = self.open() as f64 * 1_000.0 / self.pace_per_s()?;
        (!self.status.is_final()).then(|| self.heard_at.map(|at| at.plus_ms(left_ms as u64))).flatten()
    }

    pub(super) fn of(of: &BatchRef, facts: &BatchFacts, logs: Option<&Logs>) -> BatchView {
        let (sealed, summary) = (facts.sealed.get(), facts.summary.get());
        let (batch, cancelled) = (facts.definition.get(), facts.cancelled.get());
        let belonging = || logs.into_iter().flat_map(|logs| logs.belonging(sealed));
        let counts = match summary {
            Some(summary) => summary.counts.clone(),
            None => logs.map(|logs| logs.counts(sealed)).unwrap_or_default(),
        };
        let last_seen = logs.and_then(|logs| logs.ranges().last()).map_or(0, |(_, last, _)| last);
        let is_decided =
            summary.is_some() || sealed.zip(logs).is_some_and(|(sealed, logs)| logs.is_decided(sealed));
        let reason = cancelled.map(|cancelled| cancelled.reason.clone());
        BatchView {
            batch: of.batch,
            app: of.app.clone(),
            function: batch.map(|batch| batch.function.clone()),
            route: batch.map(|batch| batch.route.clone()),
            version: batch.map(|batch| batch.version.clone()),
            source: batch.map(|batch| batch.source.clone()),
            status: facts.status(&counts, is_decided),
            reason: reason.or_else(|| summary?.cancelled.clone()),
            calls: summary.map(|summary| summary.calls).or_else(|| Some(sealed?.calls())),
            stored: sealed.map_or(last_seen, |sealed| sealed.last),
            decided: counts.values().sum(),
            run_ms: summary.map_or_else(|| belonging().map(Log::run_ms).sum(), |summary| summary.run_ms),
            chunks: belonging().count() as u64,
            parts: summary.map_or_else(|| belonging().map(Log::parts).sum(), |summary| summary.parts),
            requests: match summary {
                Some(summary) => summary.requests.clone(),
                None => logs.map(|logs| logs.requests(sealed)).unwrap_or_default(),
            },
            workers: belonging().filter_map(|log| log.worker()).map(str::to_owned).collect(),
            heard_at: logs.and_then(Logs::heard_at),
            counts,
            created_at: batch.map_or_else(|| of.batch.time(), |batch| batch.created_at),
            sealed: sealed.cloned(),
            cancelled: cancelled.cloned(),
            control: facts.control.as_deref().cloned(),
            limits: facts.limits(),
            summary: summary.cloned(),
            fired: facts.fired.get().cloned(),
            deleted: facts.deleted.get().cloned(),
            retry_of: batch.and_then(|batch| batch.retry_of),
            retries: facts.retried_as().collect(),
        }
    }
}
