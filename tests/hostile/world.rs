//! A store with its queues in memory, and all that people and workers do with them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::catalog::{Catalog, Publish};
use afn::event::{Event, Listener};
use afn::executor::scripted::{Act, Scripted};
use afn::layout::Key;
use afn::model::{AppName, BatchId, BucketName, CallId, Format, Kind, Limits, Region, Source, Time, Version};
use afn::seam::executor::{Invocation, Verdict};
use afn::seam::queue::{Outgoing, QueuePair, Queues};
use afn::seam::rng::SeededRng;
use afn::seam::store::PutObject;
use afn::seam::{Buckets, Clock, Deps, Queue, Store, StoreExt as _, Webhook};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::call::{self, Accepted, Request};
use afn::submit::source::{self, OpenOptions};
use afn::worker::{Config, Phase, Worker};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::honest::Honest;

/// An app of which nothing is changed. Sweeps come to it last.
pub const INNOCENT: &str = "zebra";
/// The header of a call whose first attempt fails.
const FAILS: &str = "Fails";
/// A line that is no JSON.
pub const BAD: &str = "{bad";
pub const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Object {
    pub key: Key,
    pub body: Bytes,
    pub note: Option<String>,
    pub content_type: Option<String>,
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

/// A receiver that takes each webhook.
struct Receiver;

#[async_trait]
impl Webhook for Receiver {
    async fn post(&self, _: &str, _: &str, _: &str) -> Result<String, String> {
        Ok("200 OK".to_owned())
    }
}

impl Listener for Events {
    fn on(&self, event: Event) {
        if let Event::TaskPanicked { what, why, .. } = event {
            self.0.lock().expect("no holder panics").push(format!("{what}: {why}"));
        }
    }
}

pub fn name(text: &str) -> AppName {
    text.parse().expect("a name")
}

impl World {
    pub fn new() -> World {
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

    pub async fn put_data(&self) {
        let table = "id;x\n1;a\n2;b\n";
        for (key, body) in [("in/1", "1"), ("in/2", "2"), ("in/3", "3"), ("table.csv", table)] {
            self.data.0.put(&Key::text(key), PutObject::create(body)).await.expect("put");
        }
    }

    /// An object of the data bucket as somebody has changed it since; `None`: it is gone.
    pub async fn change_data(&self, key: &str, body: Option<Bytes>) {
        self.data.0.delete(&[Key::text(key)]).await.expect("deleted");
        if let Some(body) = body {
            self.data.0.put(&Key::text(key), PutObject::create(body)).await.expect("put");
        }
    }

    /// The part of the honest store that has these batches, with these objects, each in the place of the one under its key, and
    /// all messages once delivered before.
    pub async fn of(honest: &Honest, objects: &[Object], batches: Vec<BatchId>) -> World {
        let mut world = World::new();
        world.put_data().await;
        world.calls = honest.calls.clone();
        world.batches = batches;
        let left_out = honest.left_out(&world.batches);
        let is_there = |text: &str| left_out.iter().all(|batch| !text.contains(batch));
        let is_honest = |honest: &&Object| {
            is_there(&honest.key.to_string()) && objects.iter().all(|object| object.key != honest.key)
        };
        for put in honest.objects.iter().chain(&honest.others).filter(is_honest).chain(objects) {
            let put_object = PutObject {
                metadata: put.note.clone(),
                content_type: put.content_type.clone(),
                ..PutObject::create(put.body.clone())
            };
            world.deps.store.put(&put.key, put_object).await.expect("put");
        }
        let messages = honest.messages.iter().filter(|(_, body)| is_there(body));
        world.send(&messages.cloned().collect::<Vec<_>>()).await;
        world
    }

    pub fn lanes(&self) -> [&QueuePair; 3] {
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

    pub async fn publish(&self, app: &AppName, function: &str, source: Source) {
        Catalog::new(self.deps.clone()).publish(app, self.deploy(function, source)).await.expect("published");
    }

    /// A deploy of the function `f` or `g`, under the route of its name.
    pub fn deploy(&self, function: &str, source: Source) -> Publish {
        let is_image = matches!(source, Source::Image { .. });
        let limits = Limits { attempts_max: 2, ..Limits::default() };
        let version = Version {
            os: Some("linux".to_owned()),
            arch: Some("amd64".to_owned()),
            runtime: Some("python".to_owned()),
            command: vec!["./run".to_owned()],
            content_type: Some("text/plain".to_owned()),
            format: if is_image { Format::Default } else { Format::HttpStream },
            ..Version::new("0.0.1", source, limits, self.deps.now()).expect("a version")
        };
        Publish {
            name: function.parse().expect("a name"),
            route: format!("/{function}").parse().expect("a route"),
            kind: if is_image { Kind::Async } else { Kind::Sync },
            config: Some([("LEVEL".to_owned(), "3".to_owned())].into()),
            annotations: [("team".to_owned(), serde_json::json!({ "size": 4 }))].into(),
            version,
        }
    }

    pub async fn call(&self, app: &AppName, key: Option<&str>) -> CallId {
        self.submit(self.request(app, "/f", key)).await.expect("accepted").call
    }

    pub fn request(&self, app: &AppName, route: &str, key: Option<&str>) -> Request {
        Request {
            app: app.clone(),
            route: route.parse().expect("a route"),
            payload: "payload".into(),
            content_type: None,
            headers: Default::default(),
            delay: Duration::ZERO,
            idempotency_key: key.map(str::to_owned),
        }
    }

    pub async fn submit(&self, request: Request) -> afn::Result<Accepted> {
        call::submit(&self.deps, request).await
    }

    /// Its first attempt fails.
    pub async fn failing_call(&self) -> CallId {
        let headers: BTreeMap<_, _> = [(FAILS.to_owned(), "once".to_owned())].into();
        let request = self.request(&self.app, "/g", None);
        let request = Request { headers, delay: Duration::from_secs(1), ..request };
        self.submit(request).await.expect("accepted").call
    }

    /// Its records have keys, from 1. A line that is [`BAD`] is no record.
    pub async fn batch(&self, lines: &str, options: BatchOptions) -> BatchId {
        let records = (1..).zip(lines.lines()).map(|(key, line)| match line {
            BAD => format!("{BAD}\n"),
            line => format!("{}\n", serde_json::json!({ "id": key, "x": line })),
        });
        let records =
            source::text(records.collect::<String>(), "jsonl".parse().expect("a format"), "records");
        self.batch_of(source::keyed(records, "id", "records").expect("JSON has fields"), options).await
    }

    /// Of the data bucket. The payloads of its folder are the objects themselves.
    pub async fn batch_at(&self, location: &str, open: OpenOptions, options: BatchOptions) -> BatchId {
        let store = Arc::new(self.data.0.clone());
        let source = source::open(location, open, Some(store)).await;
        self.batch_of(source.expect("a source"), options).await
    }

    pub async fn batch_of(&self, source: Box<dyn source::Source>, options: BatchOptions) -> BatchId {
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
            Some(4) => Act::answer(vec![0xff, 0x00]),
            None if work.headers.contains_key(FAILS) && work.attempt == 1 => {
                Act { log: "said before".into(), ..Act::error("not yet") }
            }
            _ => {
                let ends =
                    Verdict::Success { content_type: Some("text/plain".to_owned()), body: "done".into() };
                Act { takes: Duration::from_millis(3), ends: Ok(ends), log: "said".into() }
            }
        };
        let executor = Scripted::new(self.deps.clock.clone(), script);
        let (stop, stopped) = watch::channel(Phase::Run);
        let mut config = Config::new("w", 2);
        config.data_buckets = ["data".parse().expect("a bucket's name")].into();
        config.webhook = Some(Arc::new(Receiver));
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
