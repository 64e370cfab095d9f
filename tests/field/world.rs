//! A calm world: memory store and queues that never fail, virtual time, requests counted, every execution and every event
//! noted. A worker is killed by dropping it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::catalog::{Catalog, Publish};
use afn::event::{Event, Listener};
use afn::executor::scripted::Scripted;
use afn::layout::batch::Chunking;
use afn::layout::part::{Part, Row};
use afn::layout::{Key, key, object};
use afn::model::{AppName, BatchId, CallId, Kind, Limits, Outcome, Source, State, Time, Version};
use afn::seam::count::{CountQueue, CountStore, Counts, Snapshot};
use afn::seam::executor::{Invocation, Mismatch};
use afn::seam::queue::{Depth, Outgoing, QueueError, QueuePair, Queues, Receipt, Received};
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::seam::store::{ByteRange, List};
use afn::seam::{Clock, Deps, Queue, Store as _, StoreExt as _};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::call::{self, Request};
use afn::submit::source;
use afn::worker::{Config, Phase, Summary, Worker};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::script::{Execution, Script, ms};

/// A sleep up to this is a nap: whoever has nothing to do should not take many.
const NAP: Duration = ms(100);

/// Virtual time; counts naps.
struct VirtualClock {
    origin: tokio::time::Instant,
    naps: Arc<AtomicU64>,
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Time {
        Time(1_790_000_000_000).plus_ms(self.monotonic().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.naps.fetch_add(u64::from(duration <= NAP), Relaxed);
        tokio::time::sleep(duration).await;
    }
}

/// Serves receives in no order, as SQS does: a queue in memory would wake the same receiver every time.
struct Shuffled {
    inner: Arc<dyn Queue>,
    rng: SeededRng,
}

#[async_trait]
impl Queue for Shuffled {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.inner.send(messages).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        let mut waited = Duration::ZERO;
        loop {
            let pause = ms(self.rng.below(4_000));
            tokio::time::sleep(pause).await;
            waited += pause;
            let received = self.inner.receive(max, Duration::ZERO, visibility).await?;
            if !received.is_empty() || waited >= wait {
                return Ok(received);
            }
        }
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        self.inner.extend(receipt, visibility).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.inner.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.inner.depth().await
    }
}

/// All that the engine has said.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Listener for Events {
    fn on(&self, event: Event) {
        self.0.lock().expect("no panic").push(event);
    }
}

/// Which kind of call a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Single,
    Batch,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub status: State,
    pub attempts: u32,
    pub reason: Option<String>,
}

pub struct World {
    pub deps: Deps,
    pub store: MemoryStore,
    /// Calls, chunks, batches; past the counting.
    pub queues: [MemoryQueue; 3],
    pub counts: Arc<Counts>,
    pub app: AppName,
    origin: tokio::time::Instant,
    naps: Arc<AtomicU64>,
    executions: Arc<Mutex<Vec<Execution>>>,
    events: Events,
}

pub struct Running {
    stop: watch::Sender<Phase>,
    task: JoinSet<afn::Result<Summary>>,
}

impl Running {
    /// Like SIGKILL.
    pub async fn kill(mut self) {
        self.task.shutdown().await;
    }

    /// Like SIGTERM.
    pub async fn drain(self) {
        self.end(Phase::Drain).await;
    }

    /// Like a second SIGTERM.
    pub async fn stop(self) {
        self.end(Phase::HandBack).await;
    }

    async fn end(mut self, stop: Phase) {
        self.stop.send_replace(stop);
        let ended = self.task.join_next().await.expect("a worker").expect("no panic");
        ended.expect("it worked to the end");
    }
}

impl World {
    pub fn new() -> World {
        let origin = tokio::time::Instant::now();
        let naps = Arc::new(AtomicU64::new(0));
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock { origin, naps: naps.clone() });
        let counts = Arc::new(Counts::default());
        let store = MemoryStore::new(clock.clone());
        let queues = [(); 3].map(|()| MemoryQueue::new(clock.clone()));
        let lane = |index: usize| {
            let counted = CountQueue::new(Arc::new(queues[index].clone()), counts.clone());
            QueuePair { live: Arc::new(counted), dead: Arc::new(MemoryQueue::new(clock.clone())) }
        };
        let events = Events::default();
        let deps = Deps {
            store: Arc::new(CountStore::new(Arc::new(store.clone()), counts.clone())),
            queues: Queues { calls: lane(0), chunks: lane(1), batches: lane(2) },
            clock,
            rng: Arc::new(SeededRng::new(7)),
            events: Arc::new(events.clone()),
        };
        let app = "field".parse().expect("a name");
        World { deps, store, queues, counts, app, origin, naps, executions: Arc::default(), events }
    }

    /// Receives of calls and ranges are served in no order.
    pub fn shuffled(mut self) -> World {
        let lanes = [&mut self.deps.queues.calls, &mut self.deps.queues.chunks];
        for (seed, lane) in (11..).zip(lanes) {
            lane.live = Arc::new(Shuffled { inner: lane.live.clone(), rng: SeededRng::new(seed) });
        }
        self
    }

    /// Publishes the function `/f`.
    pub async fn publish(&self, attempts_max: u32, backoff: Duration, timeout: Duration) {
        self.publish_for("f", None, attempts_max, backoff, timeout).await;
    }

    /// Publishes a function at the route of its name, for machines of this kind.
    pub async fn publish_for(
        &self,
        name: &str,
        arch: Option<&str>,
        attempts_max: u32,
        backoff: Duration,
        timeout: Duration,
    ) {
        let limits = Limits {
            attempts_max,
            retry_backoff_ms: backoff.as_millis() as u64,
            timeout_ms: timeout.as_millis() as u64,
            ..Limits::default()
        };
        let source = Source::Image { reference: name.to_owned(), digest: None };
        let version = Version {
            arch: arch.map(str::to_owned),
            ..Version::new("0.0.1", source, limits, self.deps.now()).expect("a version")
        };
        let publish = Publish {
            name: name.parse().expect("a name"),
            route: format!("/{name}").parse().expect("a route"),
            kind: Kind::Async,
            config: None,
            annotations: Default::default(),
            version,
        };
        Catalog::new(self.deps.clone()).publish(&self.app, publish).await.expect("published");
    }

    /// Since the world began.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// So many short sleeps were begun, by all workers together.
    pub fn naps(&self) -> u64 {
        self.naps.load(Relaxed)
    }

    /// Of a worker that does not reconcile.
    pub fn config(&self, name: &str, slots: usize) -> Config {
        let mut config = Config::new(name, slots);
        config.reconcile = false;
        config.counts = Some(self.counts.clone());
        config
    }

    /// A worker that every version suits.
    pub fn start(&self, name: &str, slots: usize, script: &Script) -> Running {
        self.start_with(self.config(name, slots), |_| true, script)
    }

    /// A worker that no version suits.
    pub fn start_unsuited(&self, name: &str, slots: usize) -> Running {
        let nothing = Script::new(|execution| panic!("it ran what it cannot run: {execution:?}"));
        self.start_with(self.config(name, slots), |_| false, &nothing)
    }

    pub fn start_with(
        &self,
        config: Config,
        suits: impl Fn(&Version) -> bool + Send + Sync + 'static,
        script: &Script,
    ) -> Running {
        let worker = self.worker(config, suits, script);
        let (stop, stopped) = watch::channel(Phase::Run);
        let mut task = JoinSet::new();
        task.spawn(worker.run(stopped));
        Running { stop, task }
    }

    /// A worker that every version suits, and that ends by itself.
    pub async fn run(&self, config: Config, script: &Script) -> afn::Result<Summary> {
        self.run_with(config, true, script).await
    }

    /// A worker that every version suits, or none, and that ends by itself.
    pub async fn run_with(&self, config: Config, suits: bool, script: &Script) -> afn::Result<Summary> {
        let (_stop, stopped) = watch::channel(Phase::Run);
        self.worker(config, move |_| suits, script).run(stopped).await
    }

    fn worker(
        &self,
        config: Config,
        suits: impl Fn(&Version) -> bool + Send + Sync + 'static,
        script: &Script,
    ) -> Worker {
        let (executions, origin, worker) = (self.executions.clone(), self.origin, config.name.clone());
        let script = script.clone();
        let executor = Scripted::new(self.deps.clock.clone(), move |work: &Invocation| {
            let payload = String::from_utf8_lossy(&work.payload.to_bytes().expect("in memory")).into_owned();
            let execution = Execution {
                worker: worker.clone(),
                call: work.call,
                number: work.call.number().unwrap_or(0),
                attempt: work.attempt,
                at: origin.elapsed(),
                payload,
            };
            executions.lock().expect("no panic").push(execution.clone());
            script.act(&execution)
        })
        .suits(move |version| match suits(version) {
            true => Ok(()),
            false => Err(Mismatch("linux/arm64, this worker runs linux/amd64".to_owned())),
        });
        Worker::new(self.deps.clone(), Arc::new(executor), config)
    }

    /// A batch of `/f`, its calls numbered from 1; in chunks of `chunk` calls, or as submitters cut them if that is 0.
    pub async fn batch(&self, calls: u64, chunk: u64) -> BatchId {
        self.batch_of("f", calls, chunk, BatchOptions::default()).await
    }

    pub async fn batch_of(&self, function: &str, calls: u64, chunk: u64, options: BatchOptions) -> BatchId {
        let lines: String = (1..=calls).map(|call| format!("{call}\n")).collect();
        self.batch_of_lines(function, lines, chunk, options).await
    }

    pub async fn batch_of_lines(
        &self,
        function: &str,
        lines: String,
        chunk: u64,
        options: BatchOptions,
    ) -> BatchId {
        let chunking = match chunk {
            0 => options.chunking,
            n => Chunking { calls_min: n, calls_max: n, ..options.chunking },
        };
        let request = BatchRequest {
            app: self.app.clone(),
            route: format!("/{function}").parse().expect("a route"),
            source: source::text(lines, "lines".parse().expect("a format"), "lines"),
            options: BatchOptions { chunking, ..options },
        };
        submit(&self.deps, request, &|_| {}).await.expect("submitted").batch
    }

    /// A call of `/f`.
    pub async fn call(&self, payload: &str) -> CallId {
        self.call_of("f", payload).await
    }

    pub async fn call_of(&self, function: &str, payload: &str) -> CallId {
        let request = Request {
            app: self.app.clone(),
            route: format!("/{function}").parse().expect("a route"),
            payload: payload.to_owned().into(),
            content_type: None,
            headers: Default::default(),
            delay: Duration::ZERO,
            idempotency_key: None,
        };
        call::submit(&self.deps, request).await.expect("accepted").call
    }

    /// One call of `/f`: a single one, or that of a batch of one.
    pub async fn one(&self, of: Of) -> CallId {
        match of {
            Of::Single => self.call("x").await,
            Of::Batch => self.batch(1, 1).await.call(1),
        }
    }

    /// What became of a call, if it is decided.
    pub async fn end(&self, call: CallId) -> Option<End> {
        if let (Some(batch), Some(number)) = (call.batch(), call.number()) {
            let row = self.rows(batch).await.into_iter().find(|row| row.number == number)?;
            return Some(End { status: row.status, attempts: row.attempts, reason: row.error });
        }
        let key = Key::Status(self.app.clone(), call);
        let found = self.store.find(&key, u64::MAX).await.expect("the store never fails")?;
        let outcome: Outcome = object::decode(&key, &found.body).expect("an outcome");
        Some(End { status: outcome.status, attempts: outcome.attempts, reason: outcome.reason })
    }

    /// The same, waiting for it up to `max` from now on.
    pub async fn end_within(&self, call: CallId, max: Duration) -> Option<End> {
        let (begun, step) = (self.elapsed(), (max / 2_000).max(ms(250)));
        loop {
            let end = self.end(call).await;
            if end.is_some() || self.elapsed() - begun >= max {
                return end;
            }
            tokio::time::sleep(step).await;
        }
    }

    /// All rows of a batch so far.
    pub async fn rows(&self, batch: BatchId) -> Vec<Row> {
        let listed = self.store.list_all(List::all(key::outcomes(&self.app, batch))).await.expect("listed");
        let mut rows = Vec::new();
        for entry in listed.entries {
            let body = self
                .store
                .get(&entry.to_key(), ByteRange::Whole(u64::MAX))
                .await
                .expect("it was listed")
                .body;
            rows.extend(Part::open(&entry.key, body).and_then(|part| part.all_rows()).expect("a part"));
        }
        rows.sort_by_key(|row| row.number);
        rows
    }

    /// How many parts the logs of a batch have.
    pub async fn parts(&self, batch: BatchId) -> usize {
        let listed = self.store.list_all(List::all(key::outcomes(&self.app, batch))).await;
        listed.expect("listed").entries.len()
    }

    /// How long from now on until the batch is over; `None` if `max` goes by before.
    pub async fn over(&self, batch: BatchId, max: Duration) -> Option<Duration> {
        self.stored(&Key::Summary(self.app.clone(), batch), max).await
    }

    pub async fn is_over(&self, batch: BatchId) -> bool {
        self.store.exists(&Key::Summary(self.app.clone(), batch)).await.expect("the store never fails")
    }

    /// How long from now on until its follow-ups are done.
    pub async fn fired(&self, batch: BatchId, max: Duration) -> Option<Duration> {
        self.stored(&Key::Fired(self.app.clone(), batch), max).await
    }

    async fn stored(&self, key: &Key, max: Duration) -> Option<Duration> {
        let begun = self.elapsed();
        let step = (max / 20_000).max(ms(250));
        while self.elapsed() - begun < max {
            if self.store.exists(key).await.expect("the store never fails") {
                return Some(self.elapsed() - begun);
            }
            tokio::time::sleep(step).await;
        }
        None
    }

    /// How many requests of each kind there were since then, receives aside: an idle worker makes those too.
    pub fn spent(&self, before: Snapshot) -> Vec<(&'static str, u64)> {
        let now = self.counts.snapshot().by_operation().into_iter();
        let each = now.zip(before.by_operation()).map(|((name, now), (_, before))| (name, now - before));
        each.filter(|(name, count)| *name != "receive" && *count > 0).collect()
    }

    pub fn each_event(&self, look: impl FnMut(&Event)) {
        self.events.0.lock().expect("no panic").iter().for_each(look);
    }

    /// How many such events there were so far.
    pub fn said(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.0.lock().expect("no panic").iter().filter(|event| wanted(event)).count()
    }

    /// All executions so far, in order.
    pub fn executions(&self) -> Vec<Execution> {
        self.executions.lock().expect("no panic").clone()
    }

    /// The attempt numbers that a call was executed with, in order.
    pub fn attempts(&self, call: CallId) -> Vec<u32> {
        let all = self.executions().into_iter();
        all.filter(|execution| execution.call == call).map(|execution| execution.attempt).collect()
    }
}

pub fn count(rows: &[Row], status: State) -> usize {
    rows.iter().filter(|row| row.status == status).count()
}

pub fn numbers(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.number).collect()
}

/// How many messages it holds, visible or not.
pub async fn messages(queue: &dyn Queue) -> u64 {
    let depth = queue.depth().await.expect("the queues never fail");
    depth.visible + depth.in_flight + depth.delayed
}
