//! What the decorators around a context's store, queues and secrets share: counts, retries, this machine's clock and randomness.

use std::sync::Arc;

use super::QueueNames;
use crate::event::Listener;
use crate::seam::clock::SystemClock;
use crate::seam::count::{CountQueue, CountStore, Counts};
use crate::seam::queue::QueuePair;
use crate::seam::retry::{Policy, RetryQueue, RetrySecrets, RetryStore};
use crate::seam::rng::SystemRng;
use crate::seam::{Clock, Queue, Queues, Rng, Secrets, Store};

/// What the decorators around store and queues share.
pub(super) struct Machine {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) counts: Arc<Counts>,
    pub(super) events: Arc<dyn Listener>,
}

impl Machine {
    pub(super) fn new(events: Arc<dyn Listener>) -> Machine {
        Machine { clock: Arc::new(SystemClock), rng: Arc::new(SystemRng), counts: Arc::default(), events }
    }

    /// Counted beneath the retries: what a run costs is what was asked.
    pub(super) fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let counted = Arc::new(CountStore::new(store, self.counts.clone()));
        let retried = RetryStore::new(counted, self.clock.clone(), self.rng.clone(), Policy::default());
        Arc::new(retried.reporting_to(self.events.clone()))
    }

    pub(super) fn secrets(&self, secrets: Arc<dyn Secrets>) -> Arc<dyn Secrets> {
        let retried = RetrySecrets::new(secrets, self.clock.clone(), self.rng.clone(), Policy::default());
        Arc::new(retried.reporting_to(self.events.clone()))
    }

    fn queue(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        let counted = Arc::new(CountQueue::new(queue, self.counts.clone()));
        let retried = RetryQueue::new(counted, self.clock.clone(), self.rng.clone(), Policy::default());
        Arc::new(retried.reporting_to(self.events.clone()))
    }

    pub(super) fn queues(&self, names: &QueueNames, open: impl Fn(&str) -> Arc<dyn Queue>) -> Queues {
        let lane = |name: &str| QueuePair {
            live: self.queue(open(name)),
            dead: self.queue(open(&QueueNames::dead(name))),
        };
        Queues { calls: lane(&names.calls), chunks: lane(&names.chunks), batches: lane(&names.batches) }
    }
}
