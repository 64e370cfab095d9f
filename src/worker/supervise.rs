//! Keeps a batch from birth to end: looks how far it has come, sends again what has lost its message, stops it when too
//! much of it fails, and finishes it. Holds no slot. Two supervisors of one batch are harmless: each costs its looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::lease::Lease;
use super::phase::Phase;
use super::single::Done;
use super::written::Kept;
use super::{Abandoned, Shared, follow};
use crate::error::Result;
use crate::event::Event;
use crate::layout::batch::{Batch, Cancelled, MaxFailures, Sealed, Summary};
use crate::layout::{Key, Message, RangeMessage, SuperviseMessage, object};
use crate::limits;
use crate::model::{AppName, BatchId, State};
use crate::outcomes::chunks::{self, Sealing};
use crate::outcomes::{Listing, Log, Logs};
use crate::planted::planted;
use crate::seam::store::{PutObject, StoreError};
use crate::store_clock;
use crate::submit::send;

/// A share of failures says little while this few calls are decided.
const PERCENT_OF_AT_LEAST: u64 = 64;

pub async fn work(shared: Arc<Shared>, lease: Lease, message: SuperviseMessage) -> Done {
    let what = format!("supervise batch {}", message.batch);
    let (app, batch) = (message.app.clone(), message.batch);
    match supervise(shared.clone(), lease, message).await {
        Ok(done) => done,
        Err(Abandoned(error)) => {
            shared.say(Event::RequestFailed { what, why: format!("{error} (app {app}, batch {batch})") });
            Done::Left
        }
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    app: AppName,
    id: BatchId,
    batch: Arc<Batch>,
    timeout_ms: u64,
    logs: Logs,
    own: Kept,
    /// By a chunk's last number: when it was found, grew, or was sent again by this holder.
    moved: BTreeMap<u64, Duration>,
}

async fn supervise(shared: Arc<Shared>, lease: Lease, message: SuperviseMessage) -> Result<Done, Abandoned> {
    let SuperviseMessage { app, batch: id, .. } = message.clone();
    let begun = shared.seams.clock.monotonic();
    let Some(look) = shared.batches.look(&app, id).await? else {
        // Deleted; or the submitter died between the pointer and the definition, and nothing can follow.
        return Ok(Done::Finished(lease));
    };
    let version = shared.definitions.version(&app, &look.batch.function, &look.batch.version).await?;
    let mut supervisor = Supervisor {
        timeout_ms: version.map_or(limits::TIMEOUT_MS_MAX, |version| version.limits.timeout_ms),
        logs: Logs::new(&app, id, &look.batch),
        own: shared.written.keep(id),
        batch: look.batch,
        moved: BTreeMap::new(),
        shared: shared.clone(),
        app,
        id,
    };
    loop {
        let ends = shared.ends.times();
        let looked_at = shared.seams.clock.monotonic();
        if supervisor.look().await? {
            return Ok(Done::Finished(lease));
        }
        let elapsed_ms = shared.seams.clock.monotonic().saturating_sub(begun).as_millis() as u64;
        let wait = (elapsed_ms / 20).clamp(limits::SUPERVISE_MS_MIN, limits::SUPERVISE_MS_MAX);
        if planted!(SupervisorHops) {
            lease.give_back(Duration::from_millis(wait)).await?;
            return Ok(Done::Left);
        }
        tokio::select! {
            biased;
            () = shared.phases.reached(Phase::Drain) => break,
            () = shared.seams.clock.sleep(Duration::from_millis(wait)) => {}
            // Nothing is left to do here, so this may be the end: whoever waits for it is not kept for a second after a
            // short batch, nor for more than that after a long one.
            () = async {
                shared.ends.since(ends).await;
                let soonest = (elapsed_ms / 20).clamp(limits::SUPERVISE_AT_END_MS_MIN, limits::SUPERVISE_MS_MIN);
                let since = shared.seams.clock.monotonic().saturating_sub(looked_at);
                shared.seams.clock.sleep(Duration::from_millis(soonest).saturating_sub(since)).await;
            } => {}
        }
        if !lease.may_begin(&shared) {
            break;
        }
    }
    let again = SuperviseMessage { id: send::message_id(&shared.seams), ..message };
    send::send(&shared.seams.queues.batches, &Message::Supervise(again), Duration::ZERO).await?;
    Ok(Done::Replaced { lease, handed_back: false })
}

impl Supervisor {
    /// Returns whether there is nothing left to do.
    async fn look(&mut self) -> Result<bool, Abandoned> {
        let listing = self.logs.list(&*self.shared.seams.store).await?;
        if listing.fired && !planted!(FiredByEveryone) {
            return Ok(true);
        }
        if listing.summary && planted!(FiredBySummaryWriter) {
            return Ok(true);
        }
        if listing.summary {
            let key = Key::Summary(self.app.clone(), self.id).to_string();
            let summary: Summary = self.read(&key).await?;
            return self.follow_up(&summary).await;
        }
        self.take_in(&listing).await?;
        let cancelled = match listing.cancelled {
            true => {
                Some(self.read::<Cancelled>(&Key::Cancelled(self.app.clone(), self.id).to_string()).await?)
            }
            false => None,
        };
        if cancelled.is_none() {
            self.brake().await?;
        }
        self.resend_lost().await?;
        let sealed = match listing.sealed {
            true => Some(self.read::<Sealed>(&Key::Sealed(self.app.clone(), self.id).to_string()).await?),
            false if planted!(SummaryBeforeSeal) => self.all_that_is_stored(),
            false if cancelled.is_some() => self.seal_cancelled().await?,
            false => None,
        };
        let Some(sealed) = sealed.filter(|sealed| self.logs.is_decided(sealed)) else { return Ok(false) };
        let summary = self.summary(&sealed, cancelled);
        let summary = self.put_summary(summary).await?;
        self.follow_up(&summary).await
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, Abandoned> {
        let object = self.shared.seams.store.get(key, crate::seam::store::Range::All).await?;
        Ok(object::decode(key, &object.body)?)
    }

    async fn take_in(&mut self, listing: &Listing) -> Result<(), Abandoned> {
        let now = self.shared.seams.clock.monotonic();
        let mut moved = self.logs.found(listing);
        moved.extend(self.own.take().into_iter().filter_map(|log| self.logs.adopt(log)));
        moved.extend(self.logs.take_in(&*self.shared.seams.store, listing).await?);
        self.moved.extend(moved.into_iter().map(|last| (last, now)));
        Ok(())
    }

    /// A brake, not a limit: what runs meanwhile may fail too.
    async fn brake(&self) -> Result<(), Abandoned> {
        let Some(max) = self.batch.max_failures else { return Ok(()) };
        let counts = self.logs.counts(None);
        let (failed, decided) = (failed(&counts), counts.values().sum::<u64>());
        let (reached, limit) = match max {
            MaxFailures::Count(max) => (failed >= max, max.to_string()),
            MaxFailures::Percent(max) => (
                decided >= PERCENT_OF_AT_LEAST && failed * 100 >= decided * u64::from(max),
                format!("{max}%"),
            ),
        };
        if !reached {
            return Ok(());
        }
        let reason = format!("stopped: {failed} of {decided} calls failed, --max-failures is {limit}");
        let cancelled =
            Cancelled { v: 1, by: "max-failures".to_owned(), reason, at: self.shared.seams.now() };
        let key = Key::Cancelled(self.app.clone(), self.id);
        create(&self.shared, key, object::encode(&cancelled)).await.map(drop)
    }

    /// A chunk that is undecided and has not moved for long has lost its message: unless the queue is merely long (N6).
    async fn resend_lost(&mut self) -> Result<(), Abandoned> {
        let now = self.shared.seams.clock.monotonic();
        let crowded = !self.shared.demand.saw_empty_queue(now) && !planted!(ResendsWhileQueueIsLong);
        if !self.shared.config.reconcile || crowded {
            return Ok(());
        }
        let quiet = Duration::from_millis(limits::RESEND_AFTER_MS.max(2 * self.timeout_ms));
        for (first, last, log) in self.logs.ranges() {
            let Some(moved) = self.moved.get_mut(&last) else { continue };
            if log.decided().covers(first..=last) || now.saturating_sub(*moved) < quiet {
                continue;
            }
            let message = RangeMessage {
                id: send::message_id(&self.shared.seams),
                app: self.app.clone(),
                batch: self.id,
                chunk: last,
                first,
                last,
                shares: limits::SHARES,
                again: !planted!(ResendsWhileQueueIsLong),
                suspects: Vec::new(),
                tried: Vec::new(),
                mismatch_since: None,
            };
            send::send(&self.shared.seams.queues.chunks, &Message::Range(message), Duration::ZERO).await?;
            if !planted!(ResendsWhileQueueIsLong) {
                *moved = now;
            }
        }
        Ok(())
    }

    /// A cancelled batch whose submitter is gone is sealed at what it has stored (H10, N4).
    async fn seal_cancelled(&self) -> Result<Option<Sealed>, Abandoned> {
        let now = store_clock::now(&self.shared.seams).await?;
        let is_young = |chunk| now.since_ms(chunk) < limits::SEAL_QUIET_MS;
        if self.logs.youngest_chunk().is_some_and(is_young) {
            return Ok(None);
        }
        let sealing = chunks::seal(&self.shared.seams, &self.app, self.id, now, "supervisor").await?;
        let Sealing::Can(sealed) = sealing else { return Ok(None) };
        let key = Key::Sealed(self.app.clone(), self.id);
        if create(&self.shared, key.clone(), object::encode(&sealed)).await? {
            return Ok(Some(sealed));
        }
        self.read(&key.to_string()).await.map(Some)
    }

    fn all_that_is_stored(&self) -> Option<Sealed> {
        let (_, last, _) = self.logs.ranges().last()?;
        Some(Sealed { v: 1, last, missing: Vec::new(), at: self.shared.seams.now(), by: String::new() })
    }

    fn summary(&self, sealed: &Sealed, cancelled: Option<Cancelled>) -> Summary {
        let belonging = || self.logs.belonging(Some(sealed));
        Summary {
            v: 1,
            calls: sealed.calls(),
            counts: self.logs.counts(Some(sealed)),
            run_ms: belonging().map(Log::run_ms).sum(),
            requests: self.logs.requests(Some(sealed)),
            parts: belonging().map(Log::parts).sum(),
            cancelled: cancelled.map(|cancelled| cancelled.reason),
        }
    }

    /// What stands, stands.
    async fn put_summary(&self, summary: Summary) -> Result<Summary, Abandoned> {
        let key = Key::Summary(self.app.clone(), self.id);
        if create(&self.shared, key.clone(), object::encode(&summary)).await? {
            self.shared.say(Event::BatchFinished {
                app: self.app.clone(),
                batch: self.id,
                calls: summary.calls,
                failed: failed(&summary.counts),
            });
            return Ok(summary);
        }
        self.read(&key.to_string()).await
    }

    async fn follow_up(&self, summary: &Summary) -> Result<bool, Abandoned> {
        let fired = follow::up(&self.shared, &self.app, self.id, &self.batch, summary).await?;
        create(&self.shared, Key::Fired(self.app.clone(), self.id), object::encode(&fired)).await?;
        Ok(true)
    }
}

/// Calls that failed by themselves.
pub(super) fn failed(counts: &BTreeMap<State, u64>) -> u64 {
    [State::Error, State::Timeout, State::Killed].iter().filter_map(|state| counts.get(state)).sum()
}

/// Whether it was written here; a fact that stands already is as good.
async fn create(shared: &Shared, key: Key, body: bytes::Bytes) -> Result<bool, Abandoned> {
    let object = PutObject::create(body).content_type("application/json");
    match shared.seams.store.put(&key.to_string(), object).await {
        Ok(_) => Ok(true),
        Err(StoreError::Exists) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
