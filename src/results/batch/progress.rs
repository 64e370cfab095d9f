//! Following a batch: each look costs one list per thousand keys that are not known yet, and the footers of the logs that
//! have grown; the last footer of a log alone tells how far its chunk is.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::facts::Facts;
use super::view::BatchView;
use crate::error::{Code, Error, Result};
use crate::model::{AppName, BatchId};
use crate::outcomes::{Logs, app_of, listing};
use crate::seam::Seams;

/// The rate is that of this many looks.
const RATE_LOOKS: usize = 8;

pub struct Progress {
    seams: Seams,
    app: AppName,
    batch: BatchId,
    facts: Facts,
    logs: Option<Logs>,
    /// When, and how many were decided.
    looks: VecDeque<(Duration, u64)>,
}

/// How a batch stands at one look, and how fast it comes along.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    #[serde(flatten)]
    pub view: BatchView,
    /// Calls decided a second, lately; `None` until two looks tell.
    pub rate_per_s: Option<f64>,
    /// Until all that is stored is decided, at that rate.
    pub left_ms: Option<u64>,
}

impl Progress {
    pub async fn open(seams: &Seams, batch: BatchId) -> Result<Progress> {
        let app = app_of(seams, batch).await?;
        Ok(Progress::of(seams, app, batch))
    }

    /// Of a batch whose app is known.
    pub fn of(seams: &Seams, app: AppName, batch: BatchId) -> Progress {
        let (seams, facts) = (seams.clone(), Facts::default());
        Progress { seams, app, batch, facts, logs: None, looks: VecDeque::new() }
    }

    pub async fn look(&mut self) -> Result<Look> {
        let store = &*self.seams.store;
        let listing = match &self.logs {
            Some(logs) => logs.list(store).await?,
            None => listing::list(store, &self.app, self.batch, &Default::default()).await?,
        };
        self.facts.read(&self.seams, &self.app, self.batch, &listing).await?;
        if let (None, Some(batch)) = (&self.logs, &self.facts.batch) {
            self.logs = Some(Logs::new(&self.app, self.batch, batch));
        }
        if let Some(logs) = &mut self.logs {
            // The summary tells what the footers would (R2).
            match self.facts.summary {
                None => drop(logs.take_in(store, &listing).await?),
                Some(_) => drop(logs.found(&listing)),
            }
        }
        let view = BatchView::of(&self.app, self.batch, &self.facts, self.logs.as_ref());
        self.looks.push_back((self.seams.clock.monotonic(), view.decided));
        if self.looks.len() > RATE_LOOKS {
            self.looks.pop_front();
        }
        let rate_per_s = self.rate();
        let left_ms =
            rate_per_s.filter(|rate| *rate > 0.0).map(|rate| (view.open() as f64 / rate * 1_000.0) as u64);
        Ok(Look { view, rate_per_s, left_ms })
    }

    fn rate(&self) -> Option<f64> {
        let ((began, before), (now, decided)) = (self.looks.front()?, self.looks.back()?);
        let seconds = now.saturating_sub(*began).as_secs_f64();
        (seconds > 0.0).then(|| decided.saturating_sub(*before) as f64 / seconds)
    }
}

/// Looks until every call is decided, or `limit` is over; `on_look` sees every look, the last one too.
pub async fn wait(
    seams: &Seams,
    batch: BatchId,
    limit: Option<Duration>,
    mut on_look: impl FnMut(&Look),
) -> Result<BatchView> {
    let begun = seams.clock.monotonic();
    let mut progress = Progress::open(seams, batch).await?;
    loop {
        let look = progress.look().await?;
        on_look(&look);
        if look.view.status.is_final() {
            return Ok(look.view);
        }
        let waited = seams.clock.monotonic().saturating_sub(begun);
        let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(waited));
        if left.is_zero() {
            let limit = humantime::format_duration(limit.unwrap_or_default());
            let BatchView { status, decided, .. } = look.view;
            return Err(Error::new(
                Code::WaitTimedOut,
                format!(
                    "batch `{batch}` has not finished after {limit}: it is {status}, {decided} calls decided"
                ),
            )
            .hint(format!("it goes on all the same: `afn batch wait {batch}` waits again")));
        }
        let ends_in = look.left_ms.map(Duration::from_millis);
        seams.clock.sleep(super::pause(waited, ends_in).min(left)).await;
    }
}
