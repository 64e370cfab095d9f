//! The worker's cache of batches: the definition, and a snapshot, at most a minute old, of whether a batch is sealed,
//! cancelled or over. One list refreshes a snapshot, shared by all chunks of the batch on this worker (H24).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::limiter::Orders;
use crate::error::Result;
use crate::layout::batch::{Batch, Cancelled};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef, Digest, Time};
use crate::outcomes::BatchFacts;
use crate::seam::{Deps, StoreExt as _};

/// How old a look may be.
const FRESH: Duration = Duration::from_secs(60);
/// A young batch is looked at more often, so that cancelling it soon stops it.
const FRESH_MIN: Duration = Duration::from_secs(2);
/// Whoever unpauses a batch waits for it.
const FRESH_PAUSED: Duration = Duration::from_secs(10);
/// Past this many the oldest looks are forgotten.
const KEPT_MAX: usize = 1_000;

#[derive(Debug, Clone)]
pub struct KnownBatch {
    pub batch: Arc<Batch>,
    pub cancelled: Option<Arc<Cancelled>>,
    /// It has a `summary`: nothing of it is to be run or recorded any more.
    pub over: bool,
    facts: BatchFacts,
    at: Duration,
    /// When it was last seen that the batch is not cancelled; not before `at`.
    open_at: Duration,
    first_at: Duration,
    /// More is stored than it has.
    is_stale: bool,
}

impl KnownBatch {
    /// Whether the chunk that ends with this number is part of the batch, as far as is known.
    pub fn belongs(&self, last: u64) -> bool {
        self.facts.belongs(last)
    }

    /// Whether a worker has reported that it cannot run its calls.
    pub fn has_unsuited(&self) -> bool {
        self.facts.has_unsuited
    }

    /// How old a look at the batch may be now.
    fn fresh(&self, deps: &Deps) -> Duration {
        let now = deps.clock.monotonic();
        if self.batch.brakes_soon(deps.now()) {
            return limits::BRAKE_LOOK;
        }
        let most = if self.facts.is_paused() { FRESH_PAUSED } else { FRESH };
        (now.saturating_sub(self.first_at) / 10).clamp(FRESH_MIN, most)
    }

    /// By this machine's clock: an estimate.
    pub fn paused_for(&self, now: Time) -> Duration {
        let since = self.facts.control.as_ref().map_or(now, |control| control.at);
        Duration::from_millis(now.since_ms(since))
    }

    pub fn requests(&self) -> BatchRequests {
        let orders = Orders { paused: self.facts.is_paused(), limits: self.facts.limits() };
        BatchRequests { cancelled: self.cancelled.clone(), orders }
    }
}

/// What was asked of a batch since it was submitted.
#[derive(Debug, Clone, Default)]
pub struct BatchRequests {
    pub cancelled: Option<Arc<Cancelled>>,
    pub orders: Orders,
}

pub struct BatchCache {
    deps: Deps,
    known: Mutex<BTreeMap<(AppName, BatchId), KnownBatch>>,
    /// Reasons why this worker cannot run calls of a batch that it has told of.
    mentioned: std::sync::Mutex<BTreeSet<(BatchId, Digest)>>,
}

impl BatchCache {
    pub fn new(deps: Deps) -> BatchCache {
        BatchCache { deps, known: Mutex::default(), mentioned: Default::default() }
    }

    /// Whether this reason is new, as far as is remembered.
    pub fn is_first_mention(&self, batch: BatchId, reason: &Digest) -> bool {
        let mut mentioned = self.mentioned.lock().expect("no holder of this lock panics");
        if mentioned.len() >= KEPT_MAX {
            mentioned.clear();
        }
        mentioned.insert((batch, reason.clone()))
    }

    /// What was asked of a batch of which something runs. Costs one HEAD and one GET where it is time to look: a snapshot's
    /// list costs a dozen of them.
    pub async fn requests(&self, app: &AppName, batch: BatchId) -> Result<BatchRequests> {
        let name = (app.clone(), batch);
        {
            let mut known = self.known.lock().await;
            let now = self.deps.clock.monotonic();
            if let Some(look) = known.get_mut(&name).filter(|look| look.cancelled.is_none() && !look.over) {
                let is_fresh = now.saturating_sub(look.open_at) < look.fresh(&self.deps);
                if !look.is_stale && is_fresh {
                    return Ok(look.requests());
                }
                let (store, of) = (&self.deps.store, BatchRef::new(app, batch));
                look.facts.read_control(&**store, &of).await?;
                if !look.is_stale && !store.fact_exists::<Cancelled>(&of).await? {
                    look.open_at = now;
                    return Ok(look.requests());
                }
                look.is_stale = true;
            }
        }
        Ok(self.snapshot(app, batch).await?.map(|look| look.requests()).unwrap_or_default())
    }

    /// The batch is cancelled by now.
    pub async fn expire(&self, app: &AppName, batch: BatchId) {
        if let Some(look) = self.known.lock().await.get_mut(&(app.clone(), batch)) {
            look.is_stale = true;
        }
    }

    /// `None`: there is no such batch (its definition was deleted, and with it all that could run).
    pub async fn snapshot(&self, app: &AppName, batch: BatchId) -> Result<Option<KnownBatch>> {
        // Held over the requests: many chunks that ask at once are answered by one look.
        let mut known = self.known.lock().await;
        let now = self.deps.clock.monotonic();
        let name = (app.clone(), batch);
        let before = known.get(&name).cloned();
        if let Some(look) = &before {
            let age = now.saturating_sub(look.at);
            if look.over || (!look.is_stale && age < look.fresh(&self.deps)) {
                return Ok(before);
            }
        }
        let Some(look) = self.ask(app, batch, before, now).await? else { return Ok(None) };
        if known.len() >= KEPT_MAX {
            known.retain(|_, look| !look.over && now.saturating_sub(look.at) < FRESH);
        }
        known.insert(name, look.clone());
        Ok(Some(look))
    }

    async fn ask(
        &self,
        app: &AppName,
        batch: BatchId,
        before: Option<KnownBatch>,
        now: Duration,
    ) -> Result<Option<KnownBatch>> {
        let (store, of) = (&*self.deps.store, BatchRef::new(app, batch));
        let first_at = before.as_ref().map_or(now, |look| look.first_at);
        let mut facts = before.map(|look| look.facts).unwrap_or_default();
        facts.look(store, &of).await?;
        // Of one that is not there, what points to it is deleted.
        let Some(batch) = facts.read_definition(store, &of).await? else { return Ok(None) };
        facts.sealed.read(store, &of).await?;
        facts.read_control(store, &of).await?;
        let cancelled = facts.cancelled.read(store, &of).await?;
        let over = facts.summary.is_there();
        Ok(Some(KnownBatch {
            batch,
            cancelled,
            over,
            facts,
            at: now,
            open_at: now,
            first_at,
            is_stale: false,
        }))
    }
}
