//! A store and queues in memory, a deployed function, nobody who works; and ways to look at what lies there.

use std::sync::Arc;
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::event::Silent;
use afn::layout::batch::{Batch, Sealed, Summary};
use afn::layout::chunk::{self, ChunkFacts, Record};
use afn::layout::part::{Row, RowResult};
use afn::layout::{Key, Message, RangeMessage, key, metadata, object};
use afn::model::{AppName, BatchId, Kind, State, Time};
use afn::outcomes::log::Addition;
use afn::outcomes::{Chunk, Log};
use afn::seam::clock::PausedClock;
use afn::seam::queue::{Queue, QueuePair, Queues};
use afn::seam::rng::SeededRng;
use afn::seam::store::{ByteRange, List, PutObject};
use afn::seam::{Deps, Store, StoreExt as _};
use afn::submit::batch::{BatchOptions, BatchRequest, Submitted, submit};
use afn::submit::source::{Source, text};

use super::super::world::deploy;

pub struct Ground {
    pub deps: Deps,
    pub app: AppName,
}

impl Ground {
    pub async fn new() -> Ground {
        let clock = PausedClock::start();
        let queue = || -> Arc<dyn Queue> { Arc::new(MemoryQueue::new(clock.clone())) };
        let lane = || QueuePair { live: queue(), dead: queue() };
        let deps = Deps {
            store: Arc::new(MemoryStore::new(clock.clone())),
            queues: Queues { calls: lane(), chunks: lane(), batches: lane() },
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(1)),
            events: Arc::new(Silent),
        };
        let app = "asyncapp".parse().unwrap();
        deploy(&deps, &app, "f", Kind::Async).await;
        Ground { deps, app }
    }

    /// The same world through another store.
    pub fn through(&self, store: impl Store + 'static) -> Deps {
        Deps { store: Arc::new(store), ..self.deps.clone() }
    }

    pub fn request(&self, source: Box<dyn Source>) -> BatchRequest {
        BatchRequest {
            app: self.app.clone(),
            route: "/f".parse().unwrap(),
            source,
            options: BatchOptions::default(),
        }
    }

    pub async fn submit(&self, source: Box<dyn Source>) -> afn::Result<Submitted> {
        submit(&self.deps, self.request(source), &|_| {}).await
    }

    pub async fn keys(&self, prefix: String) -> Vec<String> {
        let listed = self.deps.store.list_all(List::all(prefix)).await.unwrap();
        listed.entries.into_iter().map(|entry| entry.key).collect()
    }

    /// Every record that is stored, chunk by chunk, in order; each chunk in keeping with its facts.
    pub async fn records(&self, batch: BatchId) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for name in self.keys(key::chunks(&self.app, batch)).await {
            let object = self.deps.store.get(&Key::text(&name), ByteRange::Whole(u64::MAX)).await.unwrap();
            let facts: ChunkFacts =
                metadata::decode(&name, object.info.metadata.as_deref().unwrap()).unwrap();
            let chunk = chunk::decode(&name, object.body).unwrap();
            let (first, last) = (chunk.first().unwrap().number, chunk.last().unwrap().number);
            assert_eq!((facts.first, facts.last), (first, last));
            assert_eq!(Key::Chunk(self.app.clone(), batch, last).to_string(), name);
            assert!(chunk.iter().zip(first..).all(|(record, number)| record.number == number));
            records.extend(chunk);
        }
        records
    }

    /// Every record is stored once, as its line.
    pub async fn assert_lines(&self, batch: BatchId, count: u64) {
        let records = self.records(batch).await;
        let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<u64>>());
        assert!(records.iter().all(|record| record.payload == format!("line {}", record.number)));
    }

    pub async fn read<T: serde::de::DeserializeOwned>(&self, key: Key) -> Option<T> {
        let object = self.deps.store.find(&key, u64::MAX).await.unwrap()?;
        Some(object::decode(&key, &object.body).unwrap())
    }

    pub async fn delete(&self, key: Key) {
        self.deps.store.delete(&[key]).await.unwrap();
    }

    pub async fn sealed(&self, batch: BatchId) -> Option<Sealed> {
        self.read(Key::Sealed(self.app.clone(), batch)).await
    }

    pub async fn unseal(&self, batch: BatchId) {
        self.delete(Key::Sealed(self.app.clone(), batch)).await;
    }

    /// Takes every message off a queue.
    pub async fn messages(&self, lane: &QueuePair) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let (none, hour) = (Duration::ZERO, Duration::from_secs(3_600));
            let received = lane.live.receive(10, none, hour).await.unwrap();
            if received.is_empty() {
                return messages;
            }
            messages.extend(received.iter().map(|message| Message::decode(&message.body).unwrap()));
        }
    }

    pub async fn ranges(&self) -> Vec<RangeMessage> {
        let messages = self.messages(&self.deps.queues.chunks).await.into_iter();
        let mut ranges: Vec<RangeMessage> = messages
            .map(|message| match message {
                Message::Range(range) => range,
                other => panic!("not a range: {other:?}"),
            })
            .collect();
        ranges.sort_by_key(|range| range.calls.first().unwrap());
        ranges
    }

    pub async fn supervisors(&self) -> usize {
        self.messages(&self.deps.queues.batches).await.len()
    }

    /// Decides calls of one chunk as a worker would.
    pub async fn decide(&self, batch: BatchId, last: u64, calls: impl IntoIterator<Item = (u64, State)>) {
        let body: Batch = self.read(Key::Batch(self.app.clone(), batch)).await.unwrap();
        let (app, function, route, version) = (self.app.clone(), body.function, body.route, body.version);
        let chunk = Chunk { app, function, route, version, batch, last };
        let row = |(number, status)| Row {
            number,
            status,
            attempts: 1,
            created_at: Time(1),
            queued_ms: 0,
            start_ms: 0,
            run_ms: 1,
            started_at: Some(Time(1)),
            completed_at: Time(2),
            content_type: None,
            result: RowResult::None,
            error: (status != State::Success).then(|| "so it is".to_owned()),
            log: None,
            worker: "worker".into(),
            worker_version: "".into(),
        };
        let rows: Vec<Row> = calls.into_iter().map(row).collect();
        let mut log = Log::open(&*self.deps.store, chunk).await.unwrap();
        let addition = Addition { rows, worker: "w".to_owned(), ..Addition::default() };
        log.append(&*self.deps.store, &addition).await.unwrap();
    }

    /// Ends a batch as its supervisor would.
    pub async fn end(&self, batch: BatchId) {
        let summary = Summary {
            calls: 0,
            counts: Default::default(),
            run_ms: 0,
            requests: Default::default(),
            parts: 0,
            cancelled: None,
        };
        let key = Key::Summary(self.app.clone(), batch);
        self.deps.store.put(&key, PutObject::create(object::encode(&summary))).await.unwrap();
    }
}

pub fn text_of(count: u64) -> String {
    (1..=count).map(|n| format!("line {n}\n")).collect()
}

pub fn lines(count: u64) -> Box<dyn Source> {
    text(text_of(count), "lines".parse().unwrap(), "x.txt")
}
