//! The world that the engine is put into: one store and one set of queues that never fail, and around them, for every
//! process, a network that does. Time is tokio's paused clock; chance comes from one seed.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::event::{Event, Listener};
use afn::model::{Digest, Time};
use afn::seam::fault::{FaultQueue, FaultStore, Rates, SeededFaults};
use afn::seam::queue::{Depth, Lane, Outgoing, Queue, QueueError, Receipt, Received};
use afn::seam::retry::{Policy, RetryQueue, RetryStore};
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::seam::store::{ETag, List, Listed, Object, ObjectInfo, PutObject, Range, Store, StoreError};
use afn::seam::{Clock, Queues, Seams};
use async_trait::async_trait;
use tokio::sync::Notify;

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

/// Holds a process up wherever it touches the world: a pause of the whole machine. Those held go on in the order in
/// which they came.
#[derive(Clone, Default)]
pub struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    closed: AtomicBool,
    opened: Notify,
}

impl Gate {
    pub fn set_open(&self, open: bool) {
        self.0.closed.store(!open, Ordering::Relaxed);
        if open {
            self.0.opened.notify_waiters();
        }
    }

    async fn pass(&self) {
        while self.0.closed.load(Ordering::Relaxed) {
            self.0.opened.notified().await;
        }
    }
}

/// Everything that was done to the world, in order: what two runs of a seed must have in common.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn note(&self, line: String) {
        self.0.lock().expect("no holder panics").push(line);
    }

    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.0.lock().expect("no holder panics").join("\n").as_bytes())
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no holder panics").clone()
    }
}

struct Scribe {
    process: String,
    journal: Journal,
}

impl Listener for Scribe {
    fn on(&self, event: Event) {
        self.journal.note(format!("{} says {event:?}", self.process));
    }
}

/// Store and queues themselves.
pub struct World {
    pub rng: Arc<SeededRng>,
    pub journal: Journal,
    pub store: MemoryStore,
    /// `calls`, `chunks`, `batches`.
    queues: [MemoryQueue; 3],
    dead: MemoryQueue,
    pub clock: Arc<SimClock>,
    faults: Arc<SeededFaults>,
    network_store: Arc<dyn Store>,
    network_queues: [Arc<dyn Queue>; 3],
}

/// One process as the world sees it.
pub struct Process {
    pub name: String,
    pub seams: Seams,
    pub clock: Arc<SimClock>,
    pub gate: Gate,
}

impl World {
    pub fn new(seed: u64, rates: Rates) -> World {
        let rng = Arc::new(SeededRng::new(seed));
        let clock = Arc::new(SimClock {
            origin: tokio::time::Instant::now(),
            skew_ms: 0.into(),
            gate: Gate::default(),
        });
        let store = MemoryStore::new(clock.clone());
        let queues = [(); 3].map(|()| MemoryQueue::new(clock.clone()));
        let faults = Arc::new(SeededFaults::new(Arc::new(SeededRng::new(rng.u64())), rates));
        let journal = Journal::default();
        let recorded =
            Arc::new(Recorded { inner: store.clone(), journal: journal.clone(), clock: clock.clone() });
        World {
            network_store: Arc::new(FaultStore::new(recorded, clock.clone(), faults.clone())),
            network_queues: [0, 1, 2].map(|index| -> Arc<dyn Queue> {
                let inner = Arc::new(queues[index].clone());
                Arc::new(FaultQueue::new(QUEUES[index], inner, clock.clone(), faults.clone()))
            }),
            dead: MemoryQueue::new(clock.clone()),
            rng,
            journal,
            store,
            queues,
            clock,
            faults,
        }
    }

    /// A process with a network, a wall clock and randomness of its own.
    pub fn process(&self, name: &str) -> Process {
        let gate = Gate::default();
        let clock = Arc::new(SimClock { origin: self.clock.origin, skew_ms: 0.into(), gate: gate.clone() });
        let rng = Arc::new(SeededRng::new(self.rng.u64()));
        let store =
            RetryStore::new(self.network_store.clone(), clock.clone(), rng.clone(), Policy::default());
        let lane = |index: usize| {
            let queue = self.network_queues[index].clone();
            let queue = RetryQueue::new(queue, clock.clone(), rng.clone(), Policy::default());
            let live = Arc::new(Gated { inner: Arc::new(queue), gate: gate.clone() });
            Lane { live, dead: Arc::new(self.dead.clone()) }
        };
        let seams = Seams {
            store: Arc::new(GatedStore { inner: Arc::new(store), gate: gate.clone() }),
            queues: Queues { calls: lane(0), chunks: lane(1), batches: lane(2) },
            clock: clock.clone(),
            rng,
            events: Arc::new(Scribe { process: name.to_owned(), journal: self.journal.clone() }),
        };
        Process { name: name.to_owned(), seams, clock, gate }
    }

    pub fn clock_elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// No more faults.
    pub fn heal(&self) {
        self.faults.heal();
        self.journal.note("healed".to_owned());
    }

    pub fn injected(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.faults.injected()
    }

    /// Loses every message, as an operator's purge does.
    pub async fn purge(&self) {
        for queue in &self.queues {
            while let Ok(messages) = queue.receive(10, Duration::ZERO, Duration::from_secs(600)).await {
                if messages.is_empty() {
                    break;
                }
                let receipts: Vec<Receipt> = messages.into_iter().map(|message| message.receipt).collect();
                let _ = queue.delete(&receipts).await;
            }
        }
    }

    pub async fn is_dry(&self) -> bool {
        let mut dry = true;
        for queue in &self.queues {
            dry &= queue.depth().await.expect("the queue itself never fails").is_dry();
        }
        dry
    }

    pub async fn dead(&self) -> Depth {
        self.dead.depth().await.expect("the queue itself never fails")
    }
}

/// Notes every write that is done, whoever asked for it and whenever it arrives.
struct Recorded {
    inner: MemoryStore,
    journal: Journal,
    clock: Arc<SimClock>,
}

#[async_trait]
impl Store for Recorded {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        let answer = self.inner.put(key, object).await;
        let at = self.clock.monotonic().as_millis();
        self.journal.note(format!("{at} put {key}: {}", if answer.is_ok() { "done" } else { "refused" }));
        answer
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        self.inner.list(request).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.journal.note(format!("delete {keys:?}"));
        self.inner.delete(keys).await
    }
}

struct GatedStore {
    inner: Arc<dyn Store>,
    gate: Gate,
}

macro_rules! gated {
    ($self:ident, $request:expr) => {{
        $self.gate.pass().await;
        let answer = $request.await;
        $self.gate.pass().await;
        answer
    }};
}

#[async_trait]
impl Store for GatedStore {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        gated!(self, self.inner.put(key, object))
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        gated!(self, self.inner.get(key, range))
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        gated!(self, self.inner.head(key))
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        gated!(self, self.inner.list(request))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        gated!(self, self.inner.delete(keys))
    }
}

struct Gated {
    inner: Arc<dyn Queue>,
    gate: Gate,
}

#[async_trait]
impl Queue for Gated {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        gated!(self, self.inner.send(messages))
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        gated!(self, self.inner.receive(max, wait, visibility))
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        gated!(self, self.inner.extend(receipt, visibility))
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        gated!(self, self.inner.delete(receipts))
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        gated!(self, self.inner.depth())
    }
}
