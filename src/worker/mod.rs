//! Lease → run → record. A worker polls the queues, runs the calls that it leases on its slots, and writes outcomes. It is
//! one future that owns all its tasks; dropping it is like a crash. It knows executors only through their trait.
//!
//! Names like H9 or N3 are those of ARCHITECTURE.md, *Reasons*: each is a schedule that broke an earlier rule.

mod attempt;
mod batches;
mod calls_first;
mod chunk_queue_idle;
mod data_buckets;
mod definitions;
pub mod delete;
mod dispatch;
mod done;
mod execution;
mod fail_fast;
mod failed_attempt;
mod failures;
mod follow_ups;
mod health;
mod idle;
mod lease;
mod limiter;
mod marks;
mod mismatch_backoff;
mod outcome;
mod own_store;
mod pace;
mod panics;
mod pass;
mod phase;
mod prefetch;
mod quarantine;
mod range;
mod receive;
mod reconcile;
mod record;
mod retries;
mod run;
mod set_aside;
mod single;
mod slots;
mod starts;
mod supervise;
mod sweep;
mod tell;
mod turn;
mod turns;
mod unreadable;
pub mod upkeep;
mod walk;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

pub use self::data_buckets::OwnBucket;
pub use self::phase::Phase;
use self::phase::Phases;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::limits;
use crate::model::{BucketName, PerQueue, QueueName, Time};
use crate::seam::count::{Counts, Snapshot};
use crate::seam::queue::QueueError;
use crate::seam::{Buckets, Deps, Executor, StoreError, Webhook};
use crate::store_clock;

/// How a worker works.
#[derive(Clone)]
pub struct Config {
    /// Named in outcomes and marks; for people.
    pub name: String,
    /// Calls at a time.
    pub slots: usize,
    /// What running calls get on drain before they go back to the queue.
    pub grace: Duration,
    /// Stop once the queues are dry.
    pub until_dry: bool,
    /// How long a receive under way may go on when the worker stops. Some queues deliver a message to a poll that the client has
    /// cancelled, and that message stays hidden until its lease ends.
    pub last_poll: Duration,
    /// How long a message is hidden from others unless extended.
    pub visibility: Duration,
    /// Look after calls that have lost their message.
    pub reconcile: bool,
    /// What this process asks of store and queues; told in the parts that it writes.
    pub counts: Option<Arc<Counts>>,
    /// Delivers the webhooks of batches that this worker finishes.
    pub webhook: Option<Arc<dyn Webhook>>,
    /// The buckets of users that payloads may be read from, and how they are opened.
    pub data_buckets: BTreeSet<BucketName>,
    /// The bucket that the store itself lies in.
    pub own_bucket: Option<OwnBucket>,
    pub buckets: Option<Arc<dyn Buckets>>,
}

impl Config {
    pub fn new(name: impl Into<String>, slots: usize) -> Config {
        Config {
            name: name.into(),
            slots: slots.max(1),
            grace: limits::GRACE_DEFAULT,
            until_dry: false,
            last_poll: limits::LAST_POLL,
            visibility: limits::VISIBILITY,
            reconcile: true,
            counts: None,
            webhook: None,
            data_buckets: BTreeSet::new(),
            own_bucket: None,
            buckets: None,
        }
    }
}

impl Config {
    /// A lost supervisor is missed sooner than a lost range: nobody else puts chunks of its batch on the queue.
    fn visibility_of(&self, queue: QueueName) -> Duration {
        match queue {
            QueueName::Batches => self.visibility.min(limits::SUPERVISOR_VISIBILITY),
            QueueName::Calls | QueueName::Chunks => self.visibility,
        }
    }
}

/// What a worker did in its life, in messages: a range of many calls is one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nothing was left to do under them.
    pub finished: u64,
    /// Their work goes on under new messages.
    pub handed_back: u64,
}

pub struct Worker {
    shared: Arc<Shared>,
}

/// What all tasks of a worker see.
struct Shared {
    deps: Deps,
    executor: Arc<dyn Executor>,
    config: Config,
    leases: PerQueue<Arc<lease::Leases>>,
    slots: Arc<slots::Slots>,
    prefetch: Arc<prefetch::Prefetch>,
    batches: batches::BatchCache,
    limiter: limiter::Limiter,
    written: Arc<written::WrittenLogs>,
    /// Requests counted already into some part.
    told: Mutex<Snapshot>,
    definitions: definitions::Definitions,
    data_buckets: data_buckets::DataBuckets,
    quarantine: quarantine::Quarantine,
    pace: pace::Pace,
    health: health::Health,
    calls_first: calls_first::CallsFirst,
    mismatch_backoff: PerQueue<mismatch_backoff::MismatchBackoff>,
    starts: starts::Starts,
    failures: failures::Failures,
    phases: Phases,
    chunk_queue_idle: chunk_queue_idle::ChunkQueueIdle,
}

impl Worker {
    pub fn new(deps: Deps, executor: Arc<dyn Executor>, config: Config) -> Worker {
        let shared = Shared {
            leases: PerQueue::new(|name| lease::Leases::new(deps.queues.get(name).live.clone())),
            slots: slots::Slots::new(config.slots),
            prefetch: Arc::default(),
            batches: batches::BatchCache::new(deps.clone()),
            limiter: limiter::Limiter::new(deps.clone(), config.name.clone(), config.slots),
            written: Arc::default(),
            told: Mutex::default(),
            definitions: definitions::Definitions::new(deps.clone()),
            data_buckets: data_buckets::DataBuckets::new(
                config.data_buckets.clone(),
                config.own_bucket.clone(),
                config.buckets.clone(),
            ),
            quarantine: quarantine::Quarantine::default(),
            pace: pace::Pace::default(),
            health: health::Health::default(),
            calls_first: calls_first::CallsFirst::default(),
            mismatch_backoff: Default::default(),
            starts: starts::Starts::default(),
            failures: failures::Failures::default(),
            phases: Phases::default(),
            chunk_queue_idle: chunk_queue_idle::ChunkQueueIdle::default(),
            deps,
            executor,
            config,
        };
        Worker { shared: Arc::new(shared) }
    }

    /// Works until told to stop, or until the queues are dry if so configured.
    pub async fn run(self, stop: watch::Receiver<Phase>) -> Result<Summary> {
        run::run(self, stop).await
    }
}

impl Shared {
    fn emit(&self, event: Event) {
        self.deps.events.on(event);
    }

    /// Whether something that was created then, and never started, is not to start any more. The store's clock is asked only
    /// when this machine's clock says so.
    async fn is_too_late_to_start(&self, created_at: Time) -> Result<bool> {
        let is_late = |now: Time| now.since_ms(created_at) >= limits::ms(limits::NOT_STARTED_MAX);
        Ok(is_late(self.deps.now()) && is_late(store_clock::now(&self.deps).await?))
    }

    /// Requests that this process has made since it was last asked, by operation.
    fn spent(&self) -> BTreeMap<String, u64> {
        let Some(counts) = &self.config.counts else { return BTreeMap::new() };
        let now = counts.snapshot();
        let mut told = self.told.lock().expect("no holder of this lock panics");
        let before = std::mem::replace(&mut *told, now);
        let each = now.by_operation().into_iter().zip(before.by_operation());
        let spent = each.map(|((operation, now), (_, before))| (operation.to_owned(), now - before));
        spent.filter(|(_, count)| *count > 0).collect()
    }
}

/// The work on a message gave up, and does not know what is recorded. The message is left alone and comes again when its lease
/// lapses, as if the worker had been lost.
#[derive(Debug)]
struct Abandoned(Error);

impl From<Error> for Abandoned {
    fn from(error: Error) -> Abandoned {
        Abandoned(error)
    }
}

impl From<StoreError> for Abandoned {
    fn from(error: StoreError) -> Abandoned {
        Abandoned(error.into())
    }
}

impl From<QueueError> for Abandoned {
    fn from(error: QueueError) -> Abandoned {
        Abandoned(error.into())
    }
}
