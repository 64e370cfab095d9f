//! The world that the engine is put into: one store and one set of queues that never fail, and around them, for every
//! process, a network that does. Time is tokio's paused clock; chance comes from one seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::event::{Event, Listener};
use afn::layout::{Message, origin};
use afn::model::{StoreId, Time};
use afn::seam::fault::{FaultQueue, FaultStore, Rates, SeededFaults};
use afn::seam::queue::{Depth, Outgoing, QueuePair, Receipt};
use afn::seam::retry::{Policy, RetryQueue, RetryStore};
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::seam::{Clock, Deps, Queue, Queues, Store};
use afn::store_id::{Origin, StampQueue};
use async_trait::async_trait;

use super::check::{Invariant, Verdict};
use super::guard::Guard;
use super::network::{Gate, Line, Over, Recorded, Redrive, Sends, Way};

/// 2026-01-01T00:00:00Z.
const EPOCH: Time = Time(1_767_225_600_000);

const QUEUES: [&str; 3] = ["calls", "chunks", "batches"];

/// Virtual time, with a wall clock of its own for every process.
pub struct SimClock {
    origin: tokio::time::Instant,
    skew_ms: AtomicI64,
    gate: Gate,
}

impl SimClock {
    pub fn step(&self, by_ms: i64) {
        self.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Time {
        let elapsed = self.monotonic().as_millis() as i64 + self.skew_ms.load(Ordering::Relaxed);
        Time(EPOCH.0.saturating_add_signed(elapsed))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
        self.gate.pass().await;
    }
}

/// Everything that was done to the world, in order: what two runs of a seed must have in common. Kept only where
/// somebody reads it.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Mutex<Vec<String>>>>);

impl Journal {
    pub fn new(kept: bool) -> Journal {
        Journal(kept.then(Arc::default))
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.0 {
            lines.lock().expect("no holder panics").push(line());
        }
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.as_ref().map(|lines| lines.lock().expect("no holder panics").clone()).unwrap_or_default()
    }
}

struct Scribe {
    process: String,
    guard: Guard,
    journal: Journal,
}

impl Listener for Scribe {
    fn on(&self, event: Event) {
        if let Event::ChunkDispatched { batch, last, again, .. } = event {
            self.guard.dispatched(batch, last, again);
        }
        self.journal.note(|| format!("{} says {event:?}", self.process));
    }
}

/// Store and queues themselves.
pub struct World {
    pub rng: Arc<SeededRng>,
    pub journal: Journal,
    pub guard: Guard,
    pub store: MemoryStore,
    /// `calls`, `chunks`, `batches`.
    pub queues: [MemoryQueue; 3],
    dead: MemoryQueue,
    /// Messages of another store, whose workers share the queues and are all asleep.
    strangers: Arc<Mutex<Vec<(usize, String)>>>,
    pub clock: Arc<SimClock>,
    faults: Arc<SeededFaults>,
    network_store: Arc<dyn Store>,
    network_queues: [Arc<dyn Queue>; 3],
}

/// One process as the world sees it.
pub struct Process {
    pub name: String,
    pub deps: Deps,
    pub clock: Arc<SimClock>,
    pub gate: Gate,
    pub line: Line,
}

impl World {
    /// `page`: how many keys one page of a list has at most.
    pub fn new(seed: u64, rates: Rates, page: usize, journal: Journal) -> World {
        let rng = Arc::new(SeededRng::new(seed));
        let clock = Arc::new(SimClock {
            origin: tokio::time::Instant::now(),
            skew_ms: 0.into(),
            gate: Gate::default(),
        });
        let store = MemoryStore::new(clock.clone());
        let queues = [(); 3].map(|()| MemoryQueue::new(clock.clone()));
        let dead = MemoryQueue::new(clock.clone());
        let faults = Arc::new(SeededFaults::new(Arc::new(SeededRng::new(rng.u64())), rates));
        let guard = Guard::default();
        let recorded = Arc::new(Recorded {
            inner: store.clone(),
            journal: journal.clone(),
            guard: guard.clone(),
            clock: clock.clone(),
            page,
        });
        World {
            network_store: Arc::new(FaultStore::new(recorded, clock.clone(), faults.clone())),
            network_queues: [0, 1, 2].map(|index| -> Arc<dyn Queue> {
                let inner = Arc::new(Redrive {
                    name: QUEUES[index],
                    inner: queues[index].clone(),
                    dead: dead.clone(),
                    journal: journal.clone(),
                    guard: guard.clone(),
                    clock: clock.clone(),
                });
                Arc::new(FaultQueue::new(QUEUES[index], inner, clock.clone(), faults.clone()))
            }),
            dead,
            strangers: Arc::default(),
            rng,
            journal,
            guard,
            store,
            queues,
            clock,
            faults,
        }
    }

    /// A process with a network, a wall clock and randomness of its own.
    pub fn process(&self, name: &str) -> Process {
        let (gate, line) = (Gate::default(), Line::default());
        let clock = Arc::new(SimClock { origin: self.clock.origin, skew_ms: 0.into(), gate: gate.clone() });
        let rng = Arc::new(SeededRng::new(self.rng.u64()));
        let cable = || Over::Line(line.clone(), clock.clone());
        let policy = Policy::default();
        let store: Arc<dyn Store> = Arc::new(Way { inner: self.network_store.clone(), over: cable() });
        let store: Arc<dyn Store> = Arc::new(RetryStore::new(store, clock.clone(), rng.clone(), policy));
        let lane = |index: usize| {
            let sends = Sends {
                process: name.to_owned(),
                queue: index,
                guard: self.guard.clone(),
                clock: self.clock.clone(),
            };
            let queue: Arc<dyn Queue> =
                Arc::new(Way { inner: self.network_queues[index].clone(), over: cable() });
            let queue: Arc<dyn Queue> = Arc::new(RetryQueue::new(queue, clock.clone(), rng.clone(), policy));
            let live = Arc::new(Way { inner: queue, over: Over::Gate(gate.clone(), Some(sends)) });
            QueuePair { live, dead: Arc::new(self.dead.clone()) }
        };
        let store: Arc<dyn Store> = Arc::new(Way { inner: store, over: Over::Gate(gate.clone(), None) });
        let events = Arc::new(Scribe {
            process: name.to_owned(),
            guard: self.guard.clone(),
            journal: self.journal.clone(),
        });
        let origin = Origin::new(store.clone(), clock.clone(), rng.clone(), events.clone());
        let lane = |index: usize| {
            let QueuePair { live, dead } = lane(index);
            QueuePair { live: Arc::new(StampQueue::new(live, origin.clone())), dead }
        };
        let queues = Queues { calls: lane(0), chunks: lane(1), batches: lane(2) };
        let deps = Deps { queues, store, clock: clock.clone(), rng: rng.clone(), events };
        Process { name: name.to_owned(), deps, clock, gate, line }
    }

    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// No more faults.
    pub fn heal(&self) {
        self.faults.heal();
        self.journal.note(|| "healed".to_owned());
    }

    pub fn injected(&self) -> u64 {
        self.faults.injected().values().sum()
    }

    fn strangers(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.strangers.lock().expect("no holder panics")
    }

    /// A message of another store comes to a queue.
    pub async fn stranger(&self, queue: usize, message: &Message) {
        let body = origin::stamp(message.encode(), StoreId::new(EPOCH, 7));
        self.queues[queue]
            .send(vec![Outgoing::new(body.clone())])
            .await
            .expect("the queue itself never fails");
        self.strangers().push((queue, body));
    }

    /// Invariant 4, of the other store: its messages are there until its own workers delete them.
    pub fn strangers_are_there(&self) -> Verdict {
        for (queue, stranger) in self.strangers().iter() {
            if !self.queues[*queue].bodies().contains(stranger) {
                let what = format!("a message of another store is gone: {stranger}");
                return Err(Invariant::NothingLost.broken(what));
            }
        }
        Ok(())
    }

    /// Loses every message, as an operator's purge does; the other store's are sent again.
    pub async fn purge(&self) {
        self.guard.purged();
        for queue in &self.queues {
            while let Ok(messages) = queue.receive(10, Duration::ZERO, Duration::from_secs(600)).await {
                if messages.is_empty() {
                    break;
                }
                let receipts: Vec<Receipt> = messages.into_iter().map(|message| message.receipt).collect();
                let _ = queue.delete(&receipts).await;
            }
        }
        let strangers = self.strangers().clone();
        for (queue, body) in strangers {
            let sent = self.queues[queue].send(vec![Outgoing::new(body)]).await;
            sent.expect("the queue itself never fails");
        }
    }

    /// Whether nothing of this store is on the queues.
    pub fn is_dry(&self) -> bool {
        let strangers = self.strangers();
        let is_stranger = |body: &String| strangers.iter().any(|(_, stranger)| stranger == body);
        self.queues.iter().flat_map(MemoryQueue::bodies).all(|body| is_stranger(&body))
    }

    pub async fn dead(&self) -> Depth {
        self.dead.depth().await.expect("the queue itself never fails")
    }
}
