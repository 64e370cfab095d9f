//! An honest store with an object of every kind, and copies of it in which one object is another.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::catalog::{Catalog, Publish};
use afn::event::{Event, Listener};
use afn::executor::scripted::{Act, Scripted};
use afn::layout::batch::{Cancelled, Deleted, Dispatched, Mark, MaxFailures, Pointer, Retry};
use afn::layout::control::{Control, Share, Shares};
use afn::layout::object::{self, MarkKind, Reconciled, Settings, Started, TaskPanic, Unsuited};
use afn::layout::watermarks::Watermarks;
use afn::layout::{CallMessage, Key, Message, RangeMessage, Runs, SuperviseMessage};
use afn::model::{
    AppName, AttemptHistory, BatchId, BatchLimits, BatchRef, BucketName, CallId, CallRef, DeliveryId, Digest,
    Kind, Limits, MarkId, MessageId, PanicId, Region, Retention, Source, Time, Version, WatermarksId,
};
use afn::outcomes::{Chunk, Log};
use afn::seam::executor::Invocation;
use afn::seam::queue::{Outgoing, QueuePair, Queues};
use afn::seam::rng::SeededRng;
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Buckets, Clock, Deps, Queue, Store, StoreExt as _};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::call::{self, Request};
use afn::submit::source;
use afn::worker::{Config, Phase, Worker};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// An app of which nothing is changed. Sweeps come to it last.
const INNOCENT: &str = "zebra";
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Object {
    pub key: Key,
    pub body: Bytes,
    pub note: Option<String>,
    content_type: Option<String>,
}

/// Which kind of object a key names; to be changed with [`Key`].
fn kind(key: &Key) -> Option<&'static str> {
    Some(match key {
        Key::App(..) => "app",
        Key::Route(..) => "route",
        Key::Function(..) => "function",
        Key::Version(..) => "version",
        Key::Archive(..) => "archive",
        Key::Idempotency(..) => "idempotency key",
        Key::Payload(..) => "payload",
        Key::Started(..) => "started",
        Key::Void(..) => "void",
        Key::Unsuited(..) => "unsuited",
        Key::Result(..) => "result",
        Key::Log(..) => "log",
        Key::Status(..) => "status",
        Key::Pointer(..) => "pointer",
        Key::Batch(..) => "batch",
        Key::Chunk(..) => "chunk",
        Key::Input(..) => "input",
        Key::Sealed(..) => "sealed",
        Key::Part(..) => "part",
        Key::BatchResult(..) => "result of a batch",
        Key::Mark(..) => "mark",
        Key::MarkVoid(..) => "void of marks",
        Key::BatchUnsuited(..) => "unsuited of a batch",
        Key::Dispatched(..) => "dispatched",
        Key::Cancelled(..) => "cancelled",
        Key::Summary(..) => "summary",
        Key::Retry(..) => "retry",
        Key::Fired(..) => "fired",
        Key::Control(..) => "control",
        Key::Shares(..) => "shares",
        Key::Store => "store",
        Key::Reconciled(..) => "reconciled",
        Key::Watermarks(..) => "watermarks",
        Key::Deleted(..) => "deleted",
        Key::Settings => "settings",
        Key::Panic(..) => "panic",
        // Nobody reads a probe, and any other text is no object of ours.
        Key::Probe(..) | Key::Text(..) => return None,
    })
}
const KINDS: usize = 36;

/// What lies in a store and on its queues at one moment.
pub struct Honest {
    pub objects: Vec<Object>,
    /// Those of another app, which nobody changes.
    others: Vec<Object>,
    /// The queue's place among calls, chunks and batches.
    pub messages: Vec<(usize, String)>,
    pub calls: Vec<CallId>,
    pub batches: Vec<BatchId>,
}

pub struct World {
    pub deps: Deps,
    pub app: AppName,
    pub calls: Vec<CallId>,
    pub batches: Vec<BatchId>,
    ahead_ms: Arc<AtomicU64>,
    events: Events,
    /// A bucket with objects that are payloads.
    data: Data,
}

/// Any bucket that a worker opens.
#[derive(Clone)]
struct Data(MemoryStore);

#[async_trait]
impl Buckets for Data {
    async fn open(&self, _: &BucketName, _: Option<&Region>) -> afn::Result<Arc<dyn Store>> {
        Ok(Arc::new(self.0.clone()))
    }
}

struct HandClock(tokio::time::Instant, Arc<AtomicU64>);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Time {
        let ms = self.monotonic().as_millis() as u64 + self.1.load(Relaxed);
        Time(1_790_000_000_000).plus_ms(ms)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Panics of the worker's tasks.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Listener for Events {
    fn on(&self, event: Event) {
        if let Event::TaskPanicked { what, why, .. } = event {
            self.0.lock().expect("no holder panics").push(format!("{what}: {why}"));
        }
    }
}

fn name(text: &str) -> AppName {
    text.parse().expect("a name")
}

impl World {
    fn new() -> World {
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let clock: Arc<dyn Clock> = Arc::new(HandClock(tokio::time::Instant::now(), ahead_ms.clone()));
        let queue = || Arc::new(MemoryQueue::new(clock.clone())) as Arc<dyn Queue>;
        let lane = || QueuePair { live: queue(), dead: queue() };
        let events = Events::default();
        let data = Data(MemoryStore::new(clock.clone()));
        let deps = Deps {
            store: Arc::new(MemoryStore::new(clock.clone())),
            queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
            clock,
            rng: Arc::new(SeededRng::new(7)),
            events: Arc::new(events.clone()),
        };
        World { deps, app: name("victim"), calls: Vec::new(), batches: Vec::new(), ahead_ms, events, data }
    }

    async fn put_data(&self) {
        for key in ["in/1", "in/2", "in/3"] {
            self.data.0.put(&Key::text(key), PutObject::create(key)).await.expect("put");
        }
    }

    /// The honest store with this object in the place of the one under its key, and all messages once delivered before.
    pub async fn of(honest: &Honest, object: Option<&Object>) -> World {
        let mut world = World::new();
        world.put_data().await;
        world.calls = honest.calls.clone();
        world.batches = honest.batches.clone();
        for honest in honest.objects.iter().chain(&honest.others) {
            let put = object.filter(|object| object.key == honest.key).unwrap_or(honest);
            let put_object = PutObject {
                metadata: put.note.clone(),
                content_type: put.content_type.clone(),
                ..PutObject::create(put.body.clone())
            };
            world.deps.store.put(&put.key, put_object).await.expect("put");
        }
        world.send(&honest.messages).await;
        world
    }

    fn lanes(&self) -> [&QueuePair; 3] {
        let Queues { calls, chunks, batches } = &self.deps.queues;
        [calls, chunks, batches]
    }

    async fn send(&self, messages: &[(usize, String)]) {
        for (lane, body) in messages {
            let live = &self.lanes()[*lane].live;
            let outgoing =
                Outgoing { body: body.clone(), delay: Duration::ZERO, group: None, metadata: None };
            live.send(vec![outgoing]).await.expect("sent");
        }
        for lane in self.lanes() {
            // The next delivery is the third: whoever receives it looks for marks, and leaves one.
            for _ in 0..2 {
                lane.live.receive(10, Duration::ZERO, Duration::ZERO).await.expect("received");
            }
        }
    }

    pub fn pass(&self, hours: u64) {
        self.ahead_ms.fetch_add(hours * 3_600_000, Relaxed);
    }

    async fn publish(&self, app: &AppName) {
        let source = Source::Image { reference: "f".to_owned(), digest: None };
        let limits = Limits { attempts_max: 2, ..Limits::default() };
        let version = Version::new("0.0.1", source, limits, self.deps.now()).expect("a version");
        let publish = Publish {
            name: "f".parse().expect("a name"),
            route: "/f".parse().expect("a route"),
            kind: Kind::Async,
            config: None,
            annotations: Default::default(),
            version,
        };
        Catalog::new(self.deps.clone()).publish(app, publish).await.expect("published");
    }

    async fn call(&self, app: &AppName, key: Option<&str>) -> CallId {
        let request = Request {
            app: app.clone(),
            route: "/f".parse().expect("a route"),
            payload: "payload".into(),
            content_type: None,
            headers: Default::default(),
            delay: Duration::ZERO,
            idempotency_key: key.map(str::to_owned),
        };
        call::submit(&self.deps, request).await.expect("accepted").call
    }

    /// Its records have keys, from 1.
    async fn batch(&self, lines: &str, options: BatchOptions) -> BatchId {
        let records = (1..)
            .zip(lines.lines())
            .map(|(key, line)| format!("{}\n", serde_json::json!({ "id": key, "x": line })));
        let records =
            source::text(records.collect::<String>(), "jsonl".parse().expect("a format"), "records");
        self.batch_of(source::keyed(records, "id", "records").expect("JSON has fields"), options).await
    }

    /// Its payloads are objects of the bucket.
    async fn batch_of_objects(&self) -> BatchId {
        let store = Arc::new(self.data.0.clone());
        let source = source::open("s3://data/in/", source::OpenOptions::default(), Some(store)).await;
        self.batch_of(source.expect("a source"), BatchOptions::default()).await
    }

    async fn batch_of(&self, source: Box<dyn source::Source>, options: BatchOptions) -> BatchId {
        let request =
            BatchRequest { app: self.app.clone(), route: "/f".parse().expect("a route"), source, options };
        submit(&self.deps, request, &|_| {}).await.expect("submitted").batch
    }

    /// A worker works off what there is beside these messages, and a call of another app. False: that one was not done
    /// within an hour.
    pub async fn work(&self, messages: &[(usize, String)]) -> bool {
        self.send(messages).await;
        let other = name(INNOCENT);
        let call = self.call(&other, None).await;
        let script = |work: &Invocation| match work.call.number() {
            Some(1) => Act::answer("r".repeat(20_000)),
            Some(2) => Act::error("so it is"),
            _ => Act { log: "said".into(), ..Act::answer("done") },
        };
        let executor = Scripted::new(self.deps.clock.clone(), script);
        let (stop, stopped) = watch::channel(Phase::Run);
        let mut config = Config::new("w", 2);
        config.data_buckets = ["data".parse().expect("a bucket's name")].into();
        config.buckets = Some(Arc::new(self.data.clone()));
        let worker = Worker::new(self.deps.clone(), Arc::new(executor), config);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(worker.run(stopped));
        let status = Key::Status(other, call);
        let mut is_done = false;
        for _ in 0..60 {
            tokio::time::sleep(MINUTE).await;
            is_done = self.deps.store.exists(&status).await.expect("it never fails");
            if is_done {
                break;
            }
        }
        stop.send_replace(Phase::HandBack);
        while let Some(ended) = tasks.join_next().await {
            // A worker that ends with an error says so; a panic is none.
            let _ = ended.expect("the worker does not panic");
        }
        let panics = self.events.0.lock().expect("no holder panics").clone();
        assert!(panics.is_empty(), "tasks of the worker panicked: {panics:?}");
        is_done
    }
}

impl Honest {
    /// A batch that is over and retried, one that is half done and cancelled, one that is open; calls likewise.
    pub async fn make() -> Honest {
        let mut world = World::new();
        world.put_data().await;
        let Deps { store, clock, rng, .. } = &world.deps;
        afn::store_id::find_or_create(&**store, &**clock, &**rng).await.expect("an id");
        for app in [name("victim"), name(INNOCENT)] {
            world.publish(&app).await;
        }
        world.calls.push(world.call(&world.app, Some("key")).await);
        let long = "x".repeat(1_200_000);
        world.batches.push(world.batch(&format!("1\n2\n{long}\n4\n"), BatchOptions::default()).await);
        assert!(world.work(&[]).await, "an honest store is worked on");
        let options =
            BatchOptions { max_failures: Some(MaxFailures::Percent(90)), ..BatchOptions::default() };
        let lines: String = (1..=70).map(|line| format!("{line}\n")).collect();
        world.batches.push(world.batch(&lines, options).await);
        world.batches.push(world.batch(&lines, BatchOptions::default()).await);
        world.batches.push(world.batch_of_objects().await);
        world.calls.push(world.call(&world.app, None).await);
        world.call(&name(INNOCENT), None).await;
        world.by_hand().await;
        let mut messages = Vec::new();
        for (index, lane) in world.lanes().into_iter().enumerate() {
            loop {
                let received = lane.live.receive(10, Duration::ZERO, MINUTE * 60).await.expect("received");
                if received.is_empty() {
                    break;
                }
                messages.extend(received.into_iter().map(|message| (index, message.body)));
            }
        }
        messages.extend(world.messages());
        let (mut objects, mut others) = (Vec::new(), Vec::new());
        for entry in world.deps.store.list_all(List::all("")).await.expect("a list").entries {
            let key: Key = entry.key.parse().expect("a key");
            let found = world.deps.store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("there");
            let (note, content_type) = (found.info.metadata, found.info.content_type);
            let is_other = entry.key.starts_with(&format!("apps/{INNOCENT}/"));
            let of = if is_other { &mut others } else { &mut objects };
            of.push(Object { key, body: found.body, note, content_type });
        }
        Honest { objects, others, messages, calls: world.calls, batches: world.batches }
    }

    pub fn has_every_kind(&self) {
        let kinds: BTreeSet<&str> = self.objects.iter().filter_map(|object| kind(&object.key)).collect();
        assert_eq!(kinds.len(), KINDS, "{kinds:?}");
        let kind = |message: Message| match message {
            Message::Call(_) => "call",
            Message::Range(_) => "range",
            Message::Supervise(_) => "supervise",
        };
        let messages = self.messages.iter().map(|(_, body)| kind(Message::decode(body).expect("a message")));
        assert_eq!(messages.collect::<BTreeSet<_>>().len(), 3);
    }
}

impl World {
    fn delivery(&self) -> DeliveryId {
        DeliveryId { message: MessageId::new(self.deps.now(), 77), delivery: 1 }
    }

    /// Messages with all that one can carry.
    fn messages(&self) -> [(usize, String); 3] {
        let DeliveryId { message: id, .. } = self.delivery();
        let (mark, app) = (MarkId { delivery: self.delivery(), n: 1 }, self.app.clone());
        let history = AttemptHistory { attempts: 2, failures: 1, start_failures: 0 };
        let mut call = CallMessage::new(id, app.clone(), self.calls[1]);
        (call.history, call.losses, call.again) = (history, vec![self.delivery()], true);
        let calls = [(3, history), (4, history), (9, AttemptHistory::default())].into_iter().collect();
        let mut range = RangeMessage::new(id, app.clone(), self.batches[2], 64, calls);
        (range.losses, range.again) = (Runs::one(3, 4, vec![mark]), true);
        let mut supervise = SuperviseMessage::new(id, app, self.batches[2]);
        supervise.extra = true;
        [(0, Message::Call(call)), (1, Message::Range(range)), (2, Message::Supervise(supervise))]
            .map(|(lane, message)| (lane, message.encode()))
    }

    /// What an honest run on a good day leaves none of.
    async fn by_hand(&self) {
        let (store, app, delivery) = (&*self.deps.store, &self.app, self.delivery());
        let (at, worker) = (self.deps.now(), "w".to_owned());
        let call = CallRef { app: app.clone(), call: self.calls[1] };
        let [over, half, open] = [0, 1, 2].map(|index| BatchRef::new(app, self.batches[index]));
        let started = Started {
            at,
            kind: MarkKind::Sole,
            attempt: 1,
            failures: 0,
            start_failures: 0,
            lease_ms: Some(60_000),
            worker: worker.clone(),
        };
        store.put_fact(&(call.clone(), delivery), &started).await.expect("put");
        let unsuited =
            Unsuited { why: "it has no GPU".to_owned(), worker: worker.clone(), at, failed_starts: Some(2) };
        store.put_fact(&(call.clone(), delivery.message), &unsuited).await.expect("put");
        let mark = Mark { calls: vec![(3, 4), (9, 9)], kind: MarkKind::Among, worker: worker.clone(), at };
        let id = MarkId { delivery, n: 1 };
        store.put_fact(&(open.clone(), 64, id), &mark).await.expect("put");
        let cancelled = Cancelled { by: "somebody".to_owned(), reason: "enough".to_owned(), at };
        store.put_fact(&half, &cancelled).await.expect("put");
        let dispatched = Dispatched { sent: Runs::default(), through: 64, nonce: self.deps.nonce() };
        store.put_fact(&(open.clone(), 0), &dispatched).await.expect("put");
        let limits = BatchLimits { concurrency_max: Some(2), rate_max: Some("9/s".parse().expect("a rate")) };
        let control = Control { nonce: self.deps.nonce(), paused: false, limits, by: worker.clone(), at };
        store.put_fact(&open, &control).await.expect("put");
        let share =
            Share { holder: self.deps.nonce(), worker: worker.clone(), renewal: 3, calls: 1, per_hour: 99 };
        let shares = Shares { nonce: self.deps.nonce(), shares: vec![share] };
        store.put_fact(&open, &shares).await.expect("put");
        let retry = Retry { batch: half.batch, nonce: self.deps.nonce() };
        store.put_fact(&(over.clone(), 1), &retry).await.expect("put");
        store.put_fact(&7, &Reconciled { worker: worker.clone(), at }).await.expect("put");
        let settings =
            Settings { retention: Some(Retention::Never), updated_at: at, nonce: self.deps.nonce() };
        store.put_fact(&(), &settings).await.expect("put");
        // One of which only this is left.
        let gone = BatchRef::new(app, BatchId::new(Time(at.0 - 9), 9 << 50));
        store
            .put_fact(&gone.batch, &Pointer { app: app.clone(), nonce: self.deps.nonce() })
            .await
            .expect("put");
        let deleted = Deleted { by: worker.clone(), reason: "its time was over".to_owned(), at };
        store.put_fact(&gone, &deleted).await.expect("put");
        let mut marks = Watermarks { worker: worker.clone(), ..Watermarks::default() };
        let its = marks.apps.entry(app.clone()).or_default();
        its.lost_calls.first.upto = Some(CallId::single(Time(at.0 - 7), 1));
        its.lost_calls.open.insert(call.call, at);
        its.kept_batches.open.insert(over.batch, at);
        store.put_fact(&WatermarksId::new(at, 7), &marks).await.expect("put");
        let panic = TaskPanic::new(&worker, "supervisor", "a bug", at);
        store.put_fact(&PanicId::new(at, 7), &panic).await.expect("put");
        Catalog::new(self.deps.clone()).put_archive(app, "archive".into()).await.expect("put");
        let voided = DeliveryId { message: MessageId::new(at, 78), delivery: 1 };
        for (key, body) in [
            (Key::Void(app.clone(), call.call, voided), Bytes::new()),
            (Key::MarkVoid(app.clone(), open.batch, 64, voided), Bytes::new()),
            (Key::BatchUnsuited(app.clone(), open.batch, Digest::of(b"why")), object::encode(&unsuited)),
        ] {
            store.put(&key, PutObject::create(body)).await.expect("put");
        }
        // The log of a chunk that is half done, as the rows of the batch that is over.
        let batch = store.read_fact(&half).await.expect("a batch");
        let parts =
            store.list_all(List::all(afn::layout::key::outcomes(app, over.batch))).await.expect("listed");
        let key = parts.entries[0].to_key();
        let body = store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("there").body;
        let rows = afn::layout::part::Part::open(&key, body).and_then(|part| part.all_rows()).expect("rows");
        let mut log = Log::fresh(Chunk::of(app, half.batch, &batch, 64));
        let addition = afn::outcomes::log::Addition { rows, worker, ..Default::default() };
        log.append(store, &addition).await.expect("appended");
    }
}
