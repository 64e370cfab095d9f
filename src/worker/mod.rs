//! Lease → run → record. A worker polls the queues, runs what it leases on its slots and writes outcomes. It is one
//! future that owns all its tasks: dropping it is a crash. It knows executors only through their seam.

mod attempt;
mod careful;
mod definitions;
pub mod delete;
mod health;
mod lease;
mod phase;
pub mod reconcile;
mod record;
mod run;
mod single;
pub mod store_clock;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, watch};

use self::phase::Phases;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::limits;
use crate::seam::queue::QueueError;
use crate::seam::{Executor, Seams, StoreError};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Named in outcomes and marks; for people.
    pub name: String,
    /// Calls at a time.
    pub slots: usize,
    /// What running calls get on drain before they go back to the queue.
    pub grace: Duration,
    /// Stop once the queues are dry.
    pub until_dry: bool,
    /// How long a message is hidden from others unless extended.
    pub visibility: Duration,
    /// Look after calls that have lost their message.
    pub reconcile: bool,
}

impl Config {
    pub fn new(name: impl Into<String>, slots: usize) -> Config {
        Config {
            name: name.into(),
            slots: slots.max(1),
            grace: Duration::from_millis(limits::GRACE_MS_DEFAULT),
            until_dry: false,
            visibility: Duration::from_millis(limits::VISIBILITY_MS),
            reconcile: true,
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
    leases: Arc<lease::Leases>,
    definitions: definitions::Definitions,
    /// Read by every call that runs, written by a suspect: it runs when nothing else does, and nothing starts until
    /// it ends (N2). Taken before the mark is written.
    solitude: RwLock<()>,
    phases: Phases,
}

impl Worker {
    pub fn new(seams: Seams, executor: Arc<dyn Executor>, config: Config) -> Worker {
        let shared = Shared {
            leases: Arc::new(lease::Leases::default()),
            definitions: definitions::Definitions::new(seams.clone()),
            solitude: RwLock::new(()),
            phases: Phases::new(),
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
