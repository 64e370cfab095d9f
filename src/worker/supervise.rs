//! Follows a batch from its first message to its end. The supervisor checks progress, sends lost messages again, stops the
//! batch when too many calls fail, and finishes it. It holds no slot. Two supervisors of one batch are harmless: one of
//! them sends chunks (`dispatch`), and a chunk that both may have sent is read about in its log first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::dispatch::Dispatcher;
use super::done::Done;
use super::fail_fast::StartReports;
use super::follow_ups::FollowUps;
use super::lease::Lease;
use super::phase::Phase;
use super::retries::{self, Retries};
use super::written::OwnLogs;
use super::{Abandoned, Shared, follow_ups, idle, quarantine, tell};
use crate::error::{Code, Error, Result};
use crate::event::Event;
use crate::layout::batch::{Batch, Cancelled, MaxFailures, Sealed, Summary};
use crate::layout::{Fact, Key, Message, SuperviseMessage};
use crate::limits;
use crate::model::{AppName, BatchId, BatchRef};
use crate::outcomes::backlog::Backlog;
use crate::outcomes::chunks::{self, Sealing};
use crate::outcomes::{BatchFacts, Listing, Log, Logs, failed};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::executor::Work;
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
            shared.emit(Event::RequestFailed { what, why: format!("{error} (app {app}, batch {batch})") });
            Done::Left
        }
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    app: AppName,
    id: BatchId,
    batch: Arc<Batch>,
    facts: BatchFacts,
    timeout_ms: u64,
    logs: Logs,
    own: OwnLogs,
    /// By a chunk's last number: when it was found, grew, or was sent again by this holder.
    progress_at: BTreeMap<u64, Duration>,
    retries: Retries,
    dispatcher: Dispatcher,
    /// When a chunk was found or grew, or anything else was to be done for the last time.
    busy_at: Duration,
    /// By a chunk's last number: its first, of those where numbers below may be missing.
    firsts: BTreeMap<u64, u64>,
    /// By last number: chunks that were told of because they cannot be read.
    unreadable: BTreeSet<u64>,
    starts: StartReports,
    /// The batch's version suits this worker.
    suits: bool,
    /// What was told last.
    told: Option<Backlog>,
    extra: bool,
    webhook_tries: u32,
}

/// What the last look at a batch found to do.
enum Activity {
    /// Nothing is left to do.
    Over,
    Busy,
    /// Nothing is to be done until something is stored.
    Idle(idle::Progress),
    /// Only the webhook is left to do, after this time.
    WebhookLater(Duration),
}

async fn supervise(shared: Arc<Shared>, lease: Lease, message: SuperviseMessage) -> Result<Done, Abandoned> {
    let (app, id) = (message.app.clone(), message.batch);
    let begun = shared.deps.clock.monotonic();
    if let Some(seen) = message.idle
        && let Some(seen) = idle::unchanged(&shared, &message, seen).await?
    {
        return idle::rest(&shared, lease, message, seen).await;
    }
    let Some(snapshot) = shared.batches.snapshot(&app, id).await? else {
        // Deleted; or the submitter died between the pointer and the definition, and nothing can follow.
        return Ok(Done::Finished(lease));
    };
    let mut supervisor = Supervisor::new(&shared, &message, snapshot.batch, begun).await?;
    loop {
        let ends = shared.chunk_queue_idle.times();
        let looked_at = shared.deps.clock.monotonic();
        match supervisor.look().await? {
            Activity::Over => return Ok(Done::Finished(lease)),
            Activity::WebhookLater(delay) => {
                let webhook_tries = message.webhook_tries + 1;
                return send_on(&shared, lease, SuperviseMessage { webhook_tries, ..message }, delay).await;
            }
            Activity::Idle(sight)
                if idle::is_to_end(&shared, looked_at.saturating_sub(supervisor.busy_at)) =>
            {
                let since = looked_at.saturating_sub(supervisor.busy_at).as_millis() as u64;
                let seen = sight.since(shared.deps.now().minus_ms(since));
                supervisor.dispatcher.hand_over().await;
                return idle::rest(&shared, lease, message, seen).await;
            }
            Activity::Idle(_) | Activity::Busy => {}
        }
        let elapsed_ms = shared.deps.clock.monotonic().saturating_sub(begun).as_millis() as u64;
        planted!((), SupervisorHops => {
            lease.give_back(supervisor.until_next_look(elapsed_ms)).await?;
            return Ok(Done::Left);
        });
        if !supervisor.wait(elapsed_ms, ends, looked_at).await? {
            break;
        }
        if !lease.may_begin(&shared) {
            break;
        }
    }
    supervisor.dispatcher.hand_over().await;
    let retried = supervisor.retries.outstanding(&supervisor.logs);
    send_on(&shared, lease, SuperviseMessage { retried, ..message }, Duration::ZERO).await
}

/// Another worker, or this one later, goes on by a new message.
async fn send_on(
    shared: &Shared,
    lease: Lease,
    message: SuperviseMessage,
    delay: Duration,
) -> Result<Done, Abandoned> {
    let again = SuperviseMessage { id: send::message_id(&shared.deps), idle: None, ..message };
    send::send(&shared.deps.queues.batches, &Message::Supervise(again), delay).await?;
    Ok(Done::Replaced { lease, handed_back: false })
}

impl Supervisor {
    async fn new(
        shared: &Arc<Shared>,
        message: &SuperviseMessage,
        batch: Arc<Batch>,
        begun: Duration,
    ) -> Result<Supervisor, Abandoned> {
        let SuperviseMessage { app, batch: id, extra, webhook_tries, retried, .. } = message;
        let version = match shared.definitions.version(app, &batch.function, &batch.version).await {
            // The outcomes of its calls will say so.
            Err(error) if error.code() == Code::Internal => None,
            version => version?,
        };
        Ok(Supervisor {
            starts: StartReports::default(),
            told: None,
            suits: version.as_ref().is_some_and(|version| {
                let work = Work { app, function: &batch.function, version, batch: Some(*id) };
                shared.executor.accepts(&work).is_ok()
            }),
            timeout_ms: version.map_or(limits::TIMEOUT_MS_MAX, |version| version.limits.timeout_ms),
            logs: Logs::new(&BatchRef::new(app, *id), &batch),
            dispatcher: Dispatcher::new(shared, &BatchRef::new(app, *id), &batch),
            own: shared.written.collect(*id),
            batch,
            facts: BatchFacts::default(),
            progress_at: BTreeMap::new(),
            retries: Retries::new(shared.deps.now(), *extra, retried),
            busy_at: begun,
            firsts: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            extra: *extra,
            webhook_tries: *webhook_tries,
            shared: shared.clone(),
            app: app.clone(),
            id: *id,
        })
    }

    /// Sooner if retries are to be sent before.
    fn until_next_look(&self, elapsed_ms: u64) -> Duration {
        let now = self.shared.deps.now();
        let longest = match self.batch.brakes_soon(now) {
            true => limits::BRAKE_LOOK,
            false => limits::SUPERVISE_MAX,
        };
        let wait = Duration::from_millis(elapsed_ms / 20).clamp(limits::SUPERVISE_MIN, longest);
        let retries =
            self.retries.next_send(&self.logs).map(|due| Duration::from_millis(due.since_ms(now).max(1)));
        retries.map_or(wait, |retries| retries.min(wait))
    }

    /// Returns when it is time to look at the store. Meanwhile chunks are sent. False: the worker drains.
    async fn wait(
        &mut self,
        elapsed_ms: u64,
        idle_times: u64,
        looked_at: Duration,
    ) -> Result<bool, Abandoned> {
        let shared = self.shared.clone();
        let next_look = shared.deps.clock.monotonic() + self.until_next_look(elapsed_ms);
        loop {
            let chunks_look = self.dispatcher.next_store_look(&self.facts).unwrap_or(next_look);
            let next_look = next_look.min(chunks_look);
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => return Ok(false),
                () = shared.deps.clock.sleep(next_look.saturating_sub(shared.deps.clock.monotonic())) => return Ok(true),
                // Nothing is left to do here, so this may be the end: whoever waits for it is not kept for a second after a
                // short batch, nor for more than that after a long one.
                () = async {
                    shared.chunk_queue_idle.since(idle_times).await;
                    let soonest = Duration::from_millis(elapsed_ms / 20)
                        .clamp(limits::SUPERVISE_AT_END_MIN, limits::SUPERVISE_MIN);
                    let since = shared.deps.clock.monotonic().saturating_sub(looked_at);
                    shared.deps.clock.sleep(soonest.saturating_sub(since)).await;
                } => return Ok(true),
                () = self.dispatcher.due() => {}
            }
            self.dispatch().await?;
        }
    }

    async fn look(&mut self) -> Result<Activity, Abandoned> {
        let listing = self.logs.list(&*self.shared.deps.store).await?;
        self.facts.take_in(&listing);
        if planted!(self.facts.fired.is_there(), FiredBySummaryWriter => self.facts.summary.is_there()) {
            return Ok(Activity::Over);
        }
        let (store, of) = (self.shared.deps.store.clone(), BatchRef::new(&self.app, self.id));
        if let Some(summary) = self.facts.summary.read(&*store, &of).await? {
            return self.follow_up(&summary).await;
        }
        self.apply_listing(&listing).await?;
        let cancelled = self.facts.cancelled.read(&*store, &of).await?;
        if cancelled.is_none() {
            self.check_max_failures().await?;
            let stopped = self.starts.look(&self.shared, &self.logs, &listing, self.suits).await?;
            if let Some(cancelled) = stopped {
                self.create(&cancelled).await?;
            }
        }
        let (shared, logs) = (&self.shared, &self.logs);
        self.retries.send_due(shared, &of, logs, cancelled.is_some()).await?;
        self.dispatch().await?;
        self.resend_lost().await?;
        let sealed = match self.facts.sealed.read(&*store, &of).await? {
            // Not a copy at each look: it may be megabytes.
            Some(sealed) => Some(sealed),
            None => planted!(
                self.seal_cancelled(cancelled.is_some()).await?,
                SummaryBeforeSeal => crate::planted::seal_what_is_stored(&self.logs)
            )
            .map(Arc::new),
        };
        let backlog = Backlog::of(&self.logs, sealed.as_deref(), self.shared.deps.now());
        if self.told.replace(backlog) != Some(backlog) {
            tell::tell_backlog(&self.shared, &of, &backlog);
        }
        let Some(sealed) = sealed else {
            return if cancelled.is_none() { self.check_idle().await } else { Ok(Activity::Busy) };
        };
        if !self.logs.is_decided(&sealed) {
            return Ok(Activity::Busy);
        }
        let summary = self.summary(&sealed, cancelled);
        let summary = self.put_summary(summary).await?;
        self.follow_up(&summary).await
    }

    /// Puts chunks on the queue that are not there yet.
    async fn dispatch(&mut self) -> Result<(), Abandoned> {
        for (first, last) in self.dispatcher.look(&self.logs, &mut self.facts).await? {
            self.firsts.insert(last, first);
            self.progress_at.insert(last, self.shared.deps.clock.monotonic());
        }
        Ok(())
    }

    /// An open batch is idle when all that is stored of it is decided.
    async fn check_idle(&mut self) -> Result<Activity, Abandoned> {
        let now = self.shared.deps.clock.monotonic();
        let gaps = limits::SUPERVISE_GAPS;
        let (mut idle, mut unreadable) = (true, Vec::new());
        for (first, last, log) in self.logs.ranges() {
            if log.decided().covers(first..=last) {
                continue;
            }
            let quiet = self.progress_at.get(&last).is_none_or(|moved| now.saturating_sub(*moved) >= gaps);
            if quiet && !self.firsts.contains_key(&last) {
                let key = Key::Chunk(self.app.clone(), self.id, last);
                match chunks::read_facts(&self.shared.deps, &key).await {
                    Ok(facts) => drop(self.firsts.insert(last, facts.first)),
                    Err(error) if error.code() == Code::Internal => unreadable.push((last, error)),
                    Err(error) => return Err(error.into()),
                }
            }
            let first = self.firsts.get(&last).copied().unwrap_or(first);
            idle &= log.decided().covers(first..=last);
        }
        for (last, error) in unreadable {
            self.report_unreadable(last, &error);
        }
        if !idle {
            self.busy_at = now;
            return Ok(Activity::Busy);
        }
        if std::mem::take(&mut self.extra) {
            // Not the batch's own supervisor: it need not wait to see whether anything happens.
            self.busy_at = now.saturating_sub(self.quiet_for().await?);
        }
        Ok(Activity::Idle(idle::Progress::of(&self.logs)))
    }

    /// For how long nothing has been stored, by the store's clock.
    async fn quiet_for(&self) -> Result<Duration, Abandoned> {
        let youngest = match self.logs.youngest_chunk().max(self.logs.heard_at()) {
            Some(youngest) => youngest,
            None => {
                let key = Key::Batch(self.app.clone(), self.id);
                self.shared.deps.store.head(&key).await?.modified_at
            }
        };
        Ok(Duration::from_millis(store_clock::now(&self.shared.deps).await?.since_ms(youngest)))
    }

    /// Whether it was written here; a fact that stands already is as good.
    async fn create<T: Fact<Id = BatchRef>>(&self, fact: &T) -> Result<bool, Abandoned> {
        Ok(self.shared.deps.store.put_fact(&BatchRef::new(&self.app, self.id), fact).await?)
    }

    async fn apply_listing(&mut self, listing: &Listing) -> Result<(), Abandoned> {
        let now = self.shared.deps.clock.monotonic();
        let mut moved = self.logs.found(listing);
        moved.extend(self.own.take_new().into_iter().filter_map(|log| self.logs.adopt(log)));
        let (read, unreadable) = self.logs.take_in_readable(&*self.shared.deps.store, listing).await?;
        moved.extend(read);
        for (last, error) in unreadable {
            self.report_unreadable(last, &error);
        }
        if !moved.is_empty() {
            self.busy_at = now;
        }
        self.progress_at.extend(moved.into_iter().map(|last| (last, now)));
        Ok(())
    }

    /// A chunk that cannot be read keeps the batch open, and no other chunk from being looked after.
    fn report_unreadable(&mut self, last: u64, error: &Error) {
        if self.unreadable.insert(last) {
            let what = format!("supervise the chunk of batch {} that ends with call {last}", self.id);
            self.shared.emit(Event::RequestFailed { what, why: error.to_string() });
        }
    }

    /// A brake, not a limit: what runs meanwhile may fail too.
    async fn check_max_failures(&self) -> Result<(), Abandoned> {
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
        let cancelled = Cancelled { by: "max-failures".to_owned(), reason, at: self.shared.deps.now() };
        self.create(&cancelled).await.map(drop)
    }

    /// Sends an undecided chunk again that made no progress for [`limits::RESEND_AFTER`]. Its message is taken for lost, unless messages
    /// wait on the queue (N6).
    async fn resend_lost(&mut self) -> Result<(), Abandoned> {
        if !self.shared.config.reconcile {
            return Ok(());
        }
        let now = self.shared.deps.clock.monotonic();
        let quiet = limits::RESEND_AFTER.max(Duration::from_millis(2 * self.timeout_ms));
        let queue_is_long = OnceCell::new();
        let (of, mut is_control_read) = (BatchRef::new(&self.app, self.id), false);
        for (first, last, log) in self.logs.ranges() {
            let first = self.firsts.get(&last).copied().unwrap_or(first);
            let Some(moved) = self.progress_at.get_mut(&last) else { continue };
            if log.decided().covers(first..=last) || !self.dispatcher.is_sent(log) {
                continue;
            }
            let is_lost = planted!(
                now.saturating_sub(*moved) >= quiet
                    && !*queue_is_long.get_or_init(|| is_long(&self.shared, now)).await,
                ResendsWhileQueueIsLong => true
            );
            if !is_lost {
                continue;
            }
            if !is_control_read {
                self.facts.read_control(&*self.shared.deps.store, &of).await?;
                is_control_read = true;
            }
            // Messages that wait for a pause to end, or for a limit, are neither visible nor in flight.
            let waits =
                self.facts.is_paused() || (!self.facts.limits().is_none() && has_delayed(&self.shared).await);
            if waits {
                *moved = now;
                continue;
            }
            let calls = retries::undecided(log, first, last, self.shared.deps.now());
            if !calls.is_empty() {
                // As suspect as it was under the message that was lost.
                let losses = quarantine::losses(&self.shared, &self.app, self.id, last, &calls).await?;
                retries::send_range(&self.shared, &BatchRef::new(&self.app, self.id), log, calls, losses)
                    .await?;
            }
            *moved = now;
        }
        Ok(())
    }

    /// A cancelled batch whose submitter is gone is sealed at what it has stored (H10, N4).
    async fn seal_cancelled(&self, is_cancelled: bool) -> Result<Option<Sealed>, Abandoned> {
        if !is_cancelled {
            return Ok(None);
        }
        let now = store_clock::now(&self.shared.deps).await?;
        let is_young = |chunk| now.since_ms(chunk) < limits::ms(limits::SEAL_QUIET);
        if self.logs.youngest_chunk().is_some_and(is_young) {
            return Ok(None);
        }
        let id = BatchRef::new(&self.app, self.id);
        let sealing = chunks::seal(&self.shared.deps, &id, now, "supervisor", limits::SEAL_QUIET).await?;
        let Sealing::Can(sealed) = sealing else { return Ok(None) };
        Ok(Some(self.shared.deps.store.create_fact(&id, &sealed).await?.or(sealed)))
    }

    fn summary(&self, sealed: &Sealed, cancelled: Option<Arc<Cancelled>>) -> Summary {
        let belonging = || self.logs.belonging(Some(sealed));
        Summary {
            calls: sealed.calls(),
            counts: self.logs.counts(Some(sealed)),
            run_ms: belonging().map(Log::run_ms).sum(),
            requests: self.logs.requests(Some(sealed)),
            parts: belonging().map(Log::parts).sum(),
            cancelled: cancelled.map(|cancelled| cancelled.reason.clone()),
        }
    }

    /// If a summary exists already, returns that one.
    async fn put_summary(&self, summary: Summary) -> Result<Summary, Abandoned> {
        if self.create(&summary).await? {
            self.shared.emit(Event::BatchFinished {
                app: self.app.clone(),
                batch: self.id,
                calls: summary.calls,
                failed: failed(&summary.counts),
            });
            return Ok(summary);
        }
        Ok(self.shared.deps.store.read_fact(&BatchRef::new(&self.app, self.id)).await?)
    }

    async fn follow_up(&self, summary: &Summary) -> Result<Activity, Abandoned> {
        let Supervisor { shared, app, id, batch, webhook_tries, .. } = self;
        match follow_ups::fire_follow_ups(shared, app, *id, batch, summary, *webhook_tries).await? {
            FollowUps::Fired(fired) => _ = self.create(&fired).await?,
            FollowUps::TryAgain(delay) => return Ok(Activity::WebhookLater(delay)),
            FollowUps::CutOff => return Ok(Activity::Busy),
        }
        Ok(Activity::Over)
    }
}

/// Whether messages on `chunks` wait for a time.
async fn has_delayed(shared: &Shared) -> bool {
    !matches!(shared.deps.queues.chunks.live.depth().await, Ok(depth) if depth.delayed == 0)
}

/// Whether messages wait on `chunks`. A busy worker makes no receive that comes back empty: the queue's count tells it.
async fn is_long(shared: &Shared, now: Duration) -> bool {
    if shared.prefetch.saw_empty_queue(now) {
        return false;
    }
    !matches!(shared.deps.queues.chunks.live.depth().await, Ok(depth) if depth.visible == 0)
}
