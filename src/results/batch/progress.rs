//! Monitors a batch: each poll costs one list per thousand unknown keys, and the last footers of the logs that have grown.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::super::wait::TimeLimit;
use super::view::BatchView;
use crate::error::Result;
use crate::layout::Key;
use crate::model::{AppName, BatchId, BatchRef};
use crate::outcomes::backlog::Backlog;
use crate::outcomes::{BatchFacts, Logs, app_of, listing};
use crate::seam::Deps;

/// The rate is computed over this many polls.
const RATE_POLLS: usize = 8;

pub struct BatchMonitor {
    deps: Deps,
    of: BatchRef,
    facts: BatchFacts,
    logs: Option<Logs>,
    /// The time of each poll, and the number of decided calls.
    polls: VecDeque<(Duration, u64)>,
}

/// The view of a batch at one poll, and its rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgressReport {
    #[serde(flatten)]
    pub view: BatchView,
    /// Calls decided a second, recently; `None` before the second poll.
    pub rate_per_s: Option<f64>,
    /// The time until every stored call is decided, at that rate.
    pub left_ms: Option<u64>,
}

impl BatchMonitor {
    pub async fn open(deps: &Deps, batch: BatchId) -> Result<BatchMonitor> {
        Ok(BatchMonitor::of(deps, app_of(deps, batch).await?, batch))
    }

    /// Of a batch whose app is known.
    pub fn of(deps: &Deps, app: AppName, batch: BatchId) -> BatchMonitor {
        let (deps, of, facts) = (deps.clone(), BatchRef { app, batch }, BatchFacts::default());
        BatchMonitor { deps, of, facts, logs: None, polls: VecDeque::new() }
    }

    pub async fn look(&mut self) -> Result<ProgressReport> {
        let store = &*self.deps.store;
        let listing = match &self.logs {
            Some(logs) => logs.list(store).await?,
            None => listing::list(store, &self.of, &Default::default()).await?,
        };
        self.facts.take_in(&listing);
        self.facts.read(store, &self.of).await?;
        if let (None, Some(batch)) = (&self.logs, self.facts.definition.get()) {
            self.logs = Some(Logs::new(&self.of, batch));
        }
        if let Some(logs) = &mut self.logs {
            // The summary has what the footers would say (R2).
            match self.facts.summary.get() {
                None => drop(logs.take_in(store, &listing).await?),
                Some(_) => drop(logs.found(&listing)),
            }
        }
        let view = BatchView::of(&self.of, &self.facts, self.logs.as_ref());
        self.polls.push_back((self.deps.clock.monotonic(), view.decided));
        if self.polls.len() > RATE_POLLS {
            self.polls.pop_front();
        }
        let rate_per_s = self.rate();
        let left_ms =
            rate_per_s.filter(|rate| *rate > 0.0).map(|rate| (view.open() as f64 / rate * 1_000.0) as u64);
        Ok(ProgressReport { view, rate_per_s, left_ms })
    }

    /// What is left, as of the last look.
    pub fn backlog(&self) -> Backlog {
        let logs = self.logs.as_ref();
        logs.map(|logs| Backlog::of(logs, self.facts.sealed.get(), self.deps.now())).unwrap_or_default()
    }

    fn rate(&self) -> Option<f64> {
        let ((began, before), (now, decided)) = (self.polls.front()?, self.polls.back()?);
        let seconds = now.saturating_sub(*began).as_secs_f64();
        (seconds > 0.0).then(|| decided.saturating_sub(*before) as f64 / seconds)
    }
}

/// Polls until every call is decided, or `limit` is over. Calls `on_poll` with every report, also with the last one.
pub async fn wait(
    deps: &Deps,
    batch: BatchId,
    limit: Option<Duration>,
    mut on_poll: impl FnMut(&ProgressReport),
) -> Result<BatchView> {
    let limit = TimeLimit::start(deps, limit);
    let mut progress = BatchMonitor::open(deps, batch).await?;
    loop {
        let created = deps.store.created(&Key::Fired(progress.of.app.clone(), batch));
        let look = progress.look().await?;
        on_poll(&look);
        let BatchView { status, decided, .. } = look.view;
        if status.is_final() {
            return Ok(look.view);
        }
        let pause = super::pause(limit.waited(), look.left_ms.map(Duration::from_millis));
        let late = |limit| {
            format!("batch `{batch}` has not finished after {limit}: it is {status}, {decided} calls decided")
        };
        limit.sleep(created, pause, late, format!("afn batch wait {batch}")).await?;
    }
}
