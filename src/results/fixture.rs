//! A store with calls in it, for the tests of this folder: objects are written as a submitter and a worker write them,
//! the clock goes on only when somebody sleeps, and every request is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::memory::{MemoryQueue, MemoryStore};
use crate::event::Silent;
use crate::layout::object::{MarkKind, Started};
use crate::layout::{Fact, Key, metadata};
use crate::limits;
use crate::model::{
    AppName, AttemptFacts, AttemptId, CallFacts, CallId, CallRef, DeliveryId, Digest, MessageId, Outcome,
    State, Stored, Time,
};
use crate::seam::count::{CountQueue, CountStore, Counts};
use crate::seam::queue::{Queue, QueuePair, Queues};
use crate::seam::rng::SeededRng;
use crate::seam::store::{ByteRange, ETag, List, ListPage, Object, ObjectInfo, PutObject};
use crate::seam::{Body, Clock, Deps, Store, StoreError, StoreExt as _};

pub const NOW: Time = Time(1_790_000_000_000);

pub struct World {
    pub deps: Deps,
    pub counts: Arc<Counts>,
    pub app: AppName,
}

struct SteppingClock(AtomicU64);

#[async_trait]
impl Clock for SteppingClock {
    fn now(&self) -> Time {
        NOW.plus_ms(self.0.load(Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        self.0.fetch_add(duration.as_millis() as u64, Relaxed);
        tokio::task::yield_now().await;
    }
}

/// Lists in small pages, so that a few calls do what many do in pages of a thousand.
struct SmallPages(MemoryStore, usize);

#[async_trait]
impl Store for SmallPages {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        self.0.put(key, object).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.0.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.0.head(key).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.0.list(&List { max: request.max.min(self.1), ..request.clone() }).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.0.delete(keys).await
    }
}

impl World {
    pub fn new() -> World {
        World::with_pages(limits::LIST_PAGE_MAX)
    }

    pub fn with_pages(page: usize) -> World {
        let clock: Arc<dyn Clock> = Arc::new(SteppingClock(AtomicU64::new(0)));
        let counts = Arc::new(Counts::default());
        let queue = || -> Arc<dyn Queue> {
            Arc::new(CountQueue::new(Arc::new(MemoryQueue::new(clock.clone())), counts.clone()))
        };
        let lane = || QueuePair { live: queue(), dead: queue() };
        let queues = Queues { calls: lane(), chunks: lane(), batches: lane() };
        let store = SmallPages(MemoryStore::new(clock.clone()), page);
        let store = Arc::new(CountStore::new(Arc::new(store), counts.clone()));
        let rng = Arc::new(SeededRng::new(1));
        let deps = Deps { store, queues, clock, rng, events: Arc::new(Silent) };
        World { deps, counts, app: "asyncapp".parse().expect("a name") }
    }

    pub fn facts(&self, id: CallId, route: &str) -> CallFacts {
        CallFacts {
            function: "asyncfn".parse().expect("a name"),
            version: "0.0.2-0123456789ab".parse().expect("a version"),
            route: route.parse().expect("a route"),
            created_at: id.time(),
            not_before: None,
            headers: Default::default(),
            nonce: self.deps.nonce(),
        }
    }

    pub async fn put(&self, key: Key, object: PutObject) {
        self.deps.store.put(&key, object).await.expect("nothing stands there");
    }

    pub async fn put_fact<T: Fact>(&self, id: &T::Id, fact: &T) {
        assert!(self.deps.store.put_fact(id, fact).await.expect("it is written"), "nothing stands there");
    }

    pub async fn payload_with(&self, id: CallId, body: &'static str, facts: &CallFacts) {
        let metadata = metadata::encode(facts).expect("small facts");
        let object = PutObject::create(body).content_type("text/plain").metadata(metadata);
        self.put(Key::Payload(self.app.clone(), id), object).await;
    }

    pub async fn payload(&self, id: CallId) {
        self.payload_with(id, "hello", &self.facts(id, "/asyncfn")).await;
    }

    pub async fn started(&self, id: CallId, delivery: DeliveryId, attempt: u32) {
        let at = self.deps.now();
        let body = Started {
            at,
            kind: MarkKind::Running,
            attempt,
            failures: 0,
            start_failures: 0,
            lease_ms: Some(60_000),
            worker: "worker-1".to_owned(),
        };
        self.put_fact(&(CallRef::new(&self.app, id), delivery), &body).await;
    }

    /// An attempt that failed and said `oops`.
    pub async fn failed(&self, id: CallId, attempt: AttemptId, retry_at: Option<Time>) {
        let facts = AttemptFacts {
            status: State::Error,
            reason: "exit code 3".to_owned(),
            failures: attempt.attempt,
            started_at: Some(self.deps.now()),
            ended_at: self.deps.now(),
            run_ms: 250,
            retry_at,
            sha256: World::digest_of("oops"),
            worker: "worker-1".to_owned(),
        };
        let object = PutObject::create("oops").metadata(metadata::encode(&facts).expect("small facts"));
        self.put(Key::Log(self.app.clone(), id, attempt), object).await;
    }

    pub fn outcome(&self, id: CallId, status: State, route: &str) -> Outcome {
        let facts = self.facts(id, route);
        Outcome {
            status,
            reason: (status != State::Success).then(|| "exit code 3".to_owned()),
            function: facts.function,
            version: facts.version,
            route: facts.route,
            attempts: 1,
            attempt: Some(attempt(1)),
            created_at: facts.created_at,
            started_at: Some(facts.created_at.plus_ms(1_000)),
            completed_at: facts.created_at.plus_ms(1_250),
            run_ms: 250,
            result: None,
            log: None,
            worker: Some("worker-1".to_owned()),
            worker_version: Some("0.1.0".to_owned()),
        }
    }

    pub async fn status(&self, id: CallId, outcome: &Outcome) {
        self.put_fact(&CallRef::new(&self.app, id), outcome).await;
    }

    /// A call that is done, as the lists need it.
    pub async fn done(&self, id: CallId, status: State, route: &str) {
        self.payload_with(id, "hello", &self.facts(id, route)).await;
        self.status(id, &self.outcome(id, status, route)).await;
    }

    /// Lets a second pass, then writes the outcome.
    pub async fn done_later(&self, id: CallId) {
        while self.deps.clock.monotonic() < Duration::from_secs(1) {
            tokio::task::yield_now().await;
        }
        self.status(id, &self.outcome(id, State::Success, "/asyncfn")).await;
    }

    pub async fn result(&self, id: CallId, body: impl Into<Body>) -> Stored {
        let body = body.into();
        let stored = Stored {
            bytes: body.len(),
            sha256: body.sha256().expect("in memory"),
            content_type: Some("text/plain".to_owned()),
        };
        self.put(Key::Result(self.app.clone(), id, attempt(1)), PutObject::create(body)).await;
        stored
    }

    pub fn digest_of(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }
}

pub fn delivery(number: u32) -> DeliveryId {
    DeliveryId { message: MessageId::new(NOW, 7), delivery: number }
}

pub fn attempt(number: u32) -> AttemptId {
    AttemptId { delivery: delivery(1), attempt: number }
}

/// Ids that differ in their last bits only, so that the order within a millisecond is known.
pub fn call_at(time: Time, number: u64) -> CallId {
    CallId::single(time, number.into())
}
