//! Lease → run → record. A worker polls the queues, runs what it leases on its slots and writes outcomes. It is one
//! future that owns all its tasks: dropping it is a crash. It knows executors only through their seam.

mod attempt;
mod batch_call;
mod batches;
mod careful;
mod definitions;
pub mod delete;
mod demand;
mod ends;
mod follow;
mod health;
mod kept;
mod lease;
mod marks;
mod phase;
mod range;
mod receive;
pub mod reconcile;
mod record;
mod run;
mod single;
mod slots;
mod split;
mod supervise;
mod verdict;
mod walk;
mod written;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockWriteGuard, watch};

use self::phase::Phases;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::limits;
use crate::planted::planted;
use crate::seam::count::{Counts, Snapshot};
use crate::seam::queue::QueueError;
use crate::seam::{Executor, Seams, StoreError, Webhook};

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
    /// What a receive under way gets to end by itself when there are to be no more. A queue that does not notice that
    /// nobody waits any more hands its next message to nobody.
    pub last_poll: Duration,
    /// How long a message is hidden from others unless extended.
    pub visibility: Duration,
    /// Look after calls that have lost their message.
    pub reconcile: bool,
    /// What this process asks of store and queues; told in the parts that it writes.
    pub counts: Option<Arc<Counts>>,
    /// Delivers the webhooks of batches that this worker finishes.
    pub webhook: Option<Arc<dyn Webhook>>,
}

impl Config {
    pub fn new(name: impl Into<String>, slots: usize) -> Config {
        Config {
            name: name.into(),
            slots: slots.max(1),
            grace: Duration::from_millis(limits::GRACE_MS_DEFAULT),
            until_dry: false,
            last_poll: Duration::from_millis(limits::LAST_POLL_MS),
            visibility: Duration::from_millis(limits::VISIBILITY_MS),
            reconcile: true,
            counts: None,
            webhook: None,
        }
    }
}

/// What the world wants of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    Run,
    /// Receive no more; finish what runs within the grace, hand back the rest.
    Drain,
    /// Hand everything back now.
    Now,
}

/// What a worker did in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Outcomes recorded, or found standing.
    pub finished: u64,
    /// Calls given to other workers unfinished.
    pub handed_back: u64,
}

pub struct Worker {
    shared: Arc<Shared>,
}

/// What all tasks of a worker see.
struct Shared {
    seams: Seams,
    executor: Arc<dyn Executor>,
    config: Config,
    /// Of `calls`, `chunks` and `batches`.
    leases: [Arc<lease::Leases>; 3],
    slots: Arc<slots::Slots>,
    demand: Arc<demand::Demand>,
    batches: batches::Batches,
    written: Arc<written::Written>,
    /// Requests counted already into some part.
    told: Mutex<Snapshot>,
    definitions: definitions::Definitions,
    /// Read by every call that runs, written by a suspect: it runs when nothing else does, and nothing starts until
    /// it ends (N2). Taken before the mark is written.
    solitude: RwLock<()>,
    phases: Phases,
    ends: ends::Ends,
}

impl Worker {
    pub fn new(seams: Seams, executor: Arc<dyn Executor>, config: Config) -> Worker {
        let shared = Shared {
            leases: seams.queues.lanes().map(|(_, lane)| lease::Leases::new(lane.live.clone())),
            slots: slots::Slots::new(config.slots),
            demand: Arc::default(),
            batches: batches::Batches::new(seams.clone()),
            written: Arc::default(),
            told: Mutex::default(),
            definitions: definitions::Definitions::new(seams.clone()),
            solitude: RwLock::new(()),
            phases: Phases::new(),
            ends: ends::Ends::default(),
            seams,
            executor,
            config,
        };
        Worker { shared: Arc::new(shared) }
    }

    /// Works until told to stop, or until the queues are dry if so configured.
    pub async fn run(self, stop: watch::Receiver<Stop>) -> Result<Summary> {
        run::run(self, stop).await
    }
}

impl Shared {
    fn say(&self, event: Event) {
        self.seams.events.on(event);
    }

    /// Returns when no other call runs, and keeps it so.
    async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        if planted!(SoloWithoutToken) {
            self.nothing_else_held().await;
        }
        let alone = self.solitude.write().await;
        if planted!(HeldMessagesHinderSuspects) {
            self.nothing_else_held().await;
        }
        alone
    }

    async fn nothing_else_held(&self) {
        let [calls, chunks, _] = &self.leases;
        while calls.count() + chunks.count() > 1 {
            self.seams.clock.sleep(Duration::from_secs(1)).await;
        }
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

/// A task gave up without knowing: the message is left alone and comes back when its lease lapses.
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
