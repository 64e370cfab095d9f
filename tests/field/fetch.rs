//! Batches whose payloads are objects in a bucket of the user. Only the worker reads them, and only from buckets that it was
//! told of. What happens to one object is an outcome of its call alone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use afn::backend::memory::MemoryStore;
use afn::catalog::Catalog;
use afn::event::Event;
use afn::executor::scripted::{Act, Scripted};
use afn::executor::{BatchConfig, OwnBatch, OwnBatchOnly};
use afn::layout::chunk::{self, Record};
use afn::layout::{Key, key};
use afn::model::{BatchId, BucketName, FetchSource, Region, State};
use afn::seam::count::CountStore;
use afn::seam::store::{
    ByteRange, ETag, List, ListEntry, ListPage, Object, ObjectInfo, ObjectVersion, PutObject, StoreError,
};
use afn::seam::{Buckets, Store, StoreExt as _};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source::{self, OpenOptions};
use afn::submit::{resume, retry};
use afn::worker::{Config, Phase, Worker};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::script::{Script, answers, h, ms, s};
use super::world::{World, count};

fn name(text: &str) -> BucketName {
    text.parse().expect("a bucket's name")
}

/// How a read of a key fails, if it does; given the key and how many reads there were before.
type Trouble = dyn Fn(&str, u64) -> Option<StoreError> + Send + Sync;

/// The bucket `data`, with what trouble a test wants.
#[derive(Clone)]
struct Data {
    store: MemoryStore,
    trouble: Arc<Trouble>,
    reads: Arc<AtomicU64>,
    counts: Arc<afn::seam::count::Counts>,
    regions: Arc<Mutex<Vec<Option<Region>>>>,
}

impl Data {
    fn new(world: &World) -> Data {
        Data {
            store: MemoryStore::new(world.deps.clock.clone()),
            trouble: Arc::new(|_, _| None),
            reads: Arc::default(),
            counts: world.counts.clone(),
            regions: Arc::default(),
        }
    }

    fn with(mut self, trouble: impl Fn(&str, u64) -> Option<StoreError> + Send + Sync + 'static) -> Data {
        self.trouble = Arc::new(trouble);
        self
    }

    async fn put(&self, key: &str, body: &str) {
        self.store.put(&Key::text(key), PutObject::create(body.to_owned())).await.expect("put");
    }

    async fn replace(&self, key: &str, body: &str) {
        let etag = self.store.head(&Key::text(key)).await.expect("it is there").etag;
        let put = PutObject::replace(body.to_owned(), etag);
        self.store.put(&Key::text(key), put).await.expect("put");
    }

    async fn delete(&self, key: &str) {
        self.store.delete(&[Key::text(key)]).await.expect("deleted");
    }

    async fn source(&self, options: OpenOptions) -> Box<dyn source::Source> {
        let store = Arc::new(CountStore::new(Arc::new(self.store.clone()), self.counts.clone()));
        source::open("s3://data/in/", options, Some(store)).await.expect("a source")
    }

    async fn submit(&self, world: &World) -> BatchId {
        let request = BatchRequest {
            app: world.app.clone(),
            route: "/f".parse().expect("a route"),
            source: self.source(OpenOptions::default()).await,
            options: BatchOptions::default(),
        };
        submit(&world.deps, request, &|_| {}).await.expect("submitted").batch
    }

    fn config(&self, world: &World, worker: &str, slots: usize) -> Config {
        let mut config = world.config(worker, slots);
        config.data_buckets = [name("data")].into();
        config.buckets = Some(Arc::new(self.clone()));
        config
    }
}

#[async_trait]
impl Buckets for Data {
    async fn open(&self, bucket: &BucketName, region: Option<&Region>) -> afn::Result<Arc<dyn Store>> {
        assert_eq!(bucket.as_str(), "data", "a worker opens no other");
        self.regions.lock().expect("no panic").push(region.cloned());
        Ok(Arc::new(CountStore::new(Arc::new(self.clone()), self.counts.clone())))
    }
}

#[async_trait]
impl Store for Data {
    async fn put(&self, _: &Key, _: PutObject) -> Result<ETag, StoreError> {
        panic!("a source is not written")
    }

    async fn get(&self, key: &Key, _: ByteRange) -> Result<Object, StoreError> {
        panic!("{key} is read without its ETag")
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        match (self.trouble)(&key.to_string(), self.reads.fetch_add(1, Relaxed)) {
            Some(error) => Err(error),
            None => self.store.get_version(key, version, range).await,
        }
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        panic!("{key} is asked for")
    }

    async fn list(&self, _: &List) -> Result<ListPage, StoreError> {
        panic!("a worker lists no source")
    }

    async fn delete(&self, _: &[Key]) -> Result<(), StoreError> {
        panic!("a source is not deleted")
    }
}

async fn records(world: &World, batch: BatchId) -> Vec<Record> {
    let listed = world.store.list_all(List::all(key::chunks(&world.app, batch))).await.expect("listed");
    let mut records = Vec::new();
    for entry in listed.entries {
        let object = world.store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await.expect("a chunk");
        records.extend(chunk::decode(&entry.key, object.body).expect("it can be read"));
    }
    records
}

/// The function gets the contents. Nothing is copied into the store, and a call takes little more than its GET.
#[tokio::test(start_paused = true)]
async fn objects_stay_where_they_are_and_a_call_takes_one_request() {
    const OBJECTS: u64 = 4_000;
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let data = Data::new(&world);
    for n in 0..OBJECTS {
        data.put(&format!("in/{n:05}"), &format!("body {n}")).await;
    }
    let before = world.counts.snapshot();
    let batch = data.submit(&world).await;
    let records = records(&world, batch).await;
    assert_eq!(records.len() as u64, OBJECTS);
    assert!(records.iter().all(|record| record.payload.is_empty() && record.object.is_some()));
    let _worker = world.start_with(data.config(&world, "w", 8), |_| true, &Script::always(answers(ms(20))));
    world.over(batch, h(1)).await.expect("it ends");
    let spent = world.counts.snapshot().requests() - before.requests();
    assert!(spent * 10 <= OBJECTS * 11, "{spent} requests: {:?}", world.spent(before));
    let rows = world.rows(batch).await;
    assert_eq!(count(&rows, State::Success) as u64, OBJECTS);
    let mut payloads: Vec<String> =
        world.executions().into_iter().map(|execution| execution.payload).collect();
    payloads.sort_unstable();
    let mut expected: Vec<String> = (0..OBJECTS).map(|n| format!("body {n}")).collect();
    expected.sort_unstable();
    assert_eq!(payloads, expected);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_its_own_calls_error() {
    let world = World::new();
    world.publish(3, s(1), s(300)).await;
    let data = Data::new(&world).with(|key, _| match key {
        "in/archived" => Some(StoreError::Refused("it is archived, and has to be restored".into())),
        "in/forbidden" => Some(StoreError::Refused("AccessDenied".into())),
        _ => None,
    });
    let odd = "in/ a\n\u{e9}/../b ";
    for key in [odd, "in/archived", "in/empty", "in/forbidden", "in/gone", "in/replaced", "in/same"] {
        data.put(key, if key == "in/empty" { "" } else { key }).await;
    }
    let batch = data.submit(&world).await;
    data.delete("in/gone").await;
    data.replace("in/replaced", "in/REPLACED").await;
    let _worker = world.start_with(data.config(&world, "w", 2), |_| true, &Script::always(answers(ms(20))));
    world.over(batch, h(1)).await.expect("it ends");
    let rows = world.rows(batch).await;
    let ends: Vec<(State, u32, &str)> =
        rows.iter().map(|row| (row.status, row.attempts, row.error.as_deref().unwrap_or_default())).collect();
    assert_eq!(
        ends,
        [
            (State::Success, 1, ""),
            (
                State::Error,
                0,
                "object `s3://data/in/archived` cannot be read: it is archived, and has to be restored"
            ),
            (State::Success, 1, ""),
            (State::Error, 0, "object `s3://data/in/forbidden` cannot be read: AccessDenied"),
            (State::Error, 0, "object `s3://data/in/gone` is gone"),
            (State::Error, 0, "object `s3://data/in/replaced` was replaced after it was listed"),
            (State::Success, 1, ""),
        ]
    );
    let mut payloads: Vec<String> =
        world.executions().into_iter().map(|execution| execution.payload).collect();
    payloads.sort_unstable();
    assert_eq!(payloads, ["", odd, "in/same"]);

    // A retry takes the objects that were meant, also from a bucket that has others by now.
    data.put("in/gone", "in/gone").await;
    let retried = retry::retry(&world.deps, batch, BatchOptions::default(), &|_| {}).await.expect("retried");
    assert_eq!(retried.resumed.submitted.expect("all of it").calls, 4);
    world.over(retried.batch, h(1)).await.expect("it ends");
    let rows = world.rows(retried.batch).await;
    let ends: Vec<State> = rows.iter().map(|row| row.status).collect();
    assert_eq!(ends, [State::Error, State::Error, State::Success, State::Error]);
}

/// Its user has not named the bucket: that is no matter of the calls. Who may read it runs them, however late it comes.
#[tokio::test(start_paused = true)]
async fn a_worker_without_the_bucket_leaves_the_batch_to_others() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let data = Data::new(&world);
    for n in 0..10 {
        data.put(&format!("in/{n}"), "body").await;
    }
    let batch = data.submit(&world).await;
    let mut config = data.config(&world, "elsewhere", 4);
    config.data_buckets = [name("other")].into();
    let nothing = Script::new(|execution| panic!("it ran what it may not read: {execution:?}"));
    let _elsewhere = world.start_with(config, |_| true, &nothing);
    tokio::time::sleep(h(2)).await;
    assert_eq!((world.rows(batch).await.len(), data.reads.load(Relaxed)), (0, 0));
    let why = "this worker reads no objects of bucket `data`: start the worker with --data-bucket data";
    let said = |event: &Event| matches!(event, Event::BatchMismatched { why: said, .. } if said == why);
    assert!(world.said(said) > 0);
    let _reader =
        world.start_with(data.config(&world, "reader", 4), |_| true, &Script::always(answers(ms(20))));
    world.over(batch, h(1)).await.expect("it ends");
    assert_eq!(count(&world.rows(batch).await, State::Success), 10);
}

/// A store that is busy or does not answer is tried again, for one object not without end.
#[tokio::test(start_paused = true)]
async fn trouble_of_the_bucket_is_tried_again() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let data = Data::new(&world).with(|key, before| match key {
        "in/never" => Some(StoreError::Lost("no answer".into())),
        _ if before < 20 => Some(StoreError::Busy("SlowDown".into())),
        _ => None,
    });
    for n in 0..10 {
        data.put(&format!("in/{n}"), "body").await;
    }
    data.put("in/never", "body").await;
    let batch = data.submit(&world).await;
    let _worker = world.start_with(data.config(&world, "w", 2), |_| true, &Script::always(answers(ms(20))));
    world.over(batch, h(24)).await.expect("it ends");
    let rows = world.rows(batch).await;
    assert_eq!(count(&rows, State::Success), 10);
    let last = rows.last().expect("the eleventh");
    let why = "object `s3://data/in/never` could not be read: no answer";
    assert_eq!((last.status, last.error.as_deref()), (State::Error, Some(why)));
    assert_eq!(world.executions().len(), 10, "no execution of a call whose payload is not there");
}

/// The region travels with the batch; an interrupted submission goes on with the same list and stops at another.
#[tokio::test(start_paused = true)]
async fn a_batch_says_where_its_objects_are_and_can_be_resumed() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let data = Data::new(&world);
    for n in 0..100 {
        data.put(&format!("in/{n:03}"), "body").await;
    }
    let region: Region = "eu-west-1".parse().expect("a region");
    let options = || OpenOptions { region: Some(region.clone()), ..OpenOptions::default() };
    let request = BatchRequest {
        app: world.app.clone(),
        route: "/f".parse().expect("a route"),
        source: data.source(options()).await,
        options: BatchOptions::default(),
    };
    let batch = submit(&world.deps, request, &|_| {}).await.expect("submitted").batch;
    let of = afn::model::BatchRef::new(&world.app, batch);
    let stored: afn::layout::batch::Batch = world.store.read_fact(&of).await.expect("its definition");
    assert_eq!(stored.fetch, Some(FetchSource { bucket: name("data"), region: Some(region.clone()) }));
    // Readers that do not know of objects stay away from it.
    let body = world.store.get(&Key::Batch(world.app.clone(), batch), ByteRange::Whole(u64::MAX)).await;
    let body: serde_json::Value = serde_json::from_slice(&body.expect("it is there").body).expect("JSON");
    assert_eq!(body["v"], 2);

    // As if the submitter had died before the end.
    world.store.delete(&[Key::Sealed(world.app.clone(), batch)]).await.expect("deleted");
    let resumed = async || {
        let source = Some(data.source(options()).await);
        resume::resume(&world.deps, resume::ResumeRequest { batch, source }, &|_| {}).await
    };
    data.replace("in/007", "other").await;
    let said = resumed().await.expect_err("another object");
    assert!(said.message().contains("the source has changed"), "{said}");
    data.replace("in/007", "body").await;
    let again = resumed().await.expect("the same list");
    assert_eq!(again.submitted.expect("all of it").calls, 100);
    let _worker = world.start_with(data.config(&world, "w", 2), |_| true, &Script::always(answers(ms(20))));
    world.over(batch, h(1)).await.expect("it ends");
    assert_eq!(*data.regions.lock().expect("no panic"), [Some(region)]);
}

/// A list as long as it is wanted, of which nothing is stored.
struct Endless(u64);

#[async_trait]
impl Store for Endless {
    async fn put(&self, _: &Key, _: PutObject) -> Result<ETag, StoreError> {
        panic!("a source is not written")
    }

    async fn get(&self, key: &Key, _: ByteRange) -> Result<Object, StoreError> {
        panic!("a submitter reads no object, and {key} neither")
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        panic!("a submitter asks for no object, and {key} neither")
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let number = |key: &str| key.trim_start_matches("in/").parse::<u64>().expect("a key of ours");
        let from = request.start_after.as_deref().map_or(0, |after| number(after) + 1);
        let to = self.0.min(from + request.page() as u64);
        let entry = |n: u64| ListEntry {
            key: format!("in/{n:010}"),
            bytes: 1_000,
            etag: ETag(format!("\"{n:032x}\"")),
            modified_at: afn::model::Time(0),
        };
        let entries: Vec<ListEntry> = (from..to).map(entry).collect();
        let next = (to < self.0).then(|| entries.last().expect("a page").key.clone());
        Ok(ListPage { entries, prefixes: Vec::new(), next })
    }

    async fn delete(&self, _: &[Key]) -> Result<(), StoreError> {
        panic!("a source is not deleted")
    }
}

/// `cargo bench --bench listing` does it with a million. A chunk of 2,000 calls takes one request, so 10,000 objects take five;
/// the chunks at the beginning are smaller.
#[tokio::test(start_paused = true)]
async fn what_a_long_list_costs() {
    const OBJECTS: u64 = 100_000;
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let store = Arc::new(CountStore::new(Arc::new(Endless(OBJECTS)), world.counts.clone()));
    let source = source::open("s3://data/in/", OpenOptions::default(), Some(store)).await.expect("a source");
    let request = BatchRequest {
        app: world.app.clone(),
        route: "/f".parse().expect("a route"),
        source,
        options: BatchOptions::default(),
    };
    let before = world.counts.snapshot();
    let submitted = submit(&world.deps, request, &|_| {}).await.expect("submitted");
    assert_eq!((submitted.calls, submitted.refused), (OBJECTS, 0));
    let now = world.counts.snapshot();
    assert_eq!(now.list.requests - before.list.requests, OBJECTS / 1_000);
    let others = now.requests() - before.requests() - OBJECTS / 1_000;
    // 40 chunks up to 15,872 calls and 43 of 2,000, the first messages, and what each batch has.
    assert!(others <= 105, "{others} requests: {:?}", world.spent(before));
}

/// In a context that others share, the worker of `batch run` reads the sources of its user for the user's batch alone.
#[tokio::test(start_paused = true)]
async fn a_batchs_own_worker_reads_no_object_for_another_batch() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let data = Data::new(&world);
    data.put("in/a", "a").await;
    let theirs = data.submit(&world).await;
    let mine = data.submit(&world).await;

    let (catalog, app) = (Catalog::new(world.deps.clone()), world.app.clone());
    let function = catalog.resolve(&app, &"/f".parse().expect("a route")).await.expect("published");
    let version = catalog.version(&app, &function.name, &function.version).await.expect("published");
    let own = OwnBatch::new(app, function.name, version, BatchConfig::default());
    own.begin(mine);
    let executor = Arc::new(Scripted::new(world.deps.clock.clone(), |_| Act::answer("done")));
    let executor = Arc::new(OwnBatchOnly { executor, own: Arc::new(own) });
    let worker = Worker::new(world.deps.clone(), executor, data.config(&world, "w1", 2));
    let (_stop, stopped) = watch::channel(Phase::Run);
    let mut task = JoinSet::new();
    task.spawn(worker.run(stopped));

    assert!(world.over(mine, h(1)).await.is_some());
    assert_eq!(world.over(theirs, s(600)).await, None);
    assert_eq!(data.reads.load(Relaxed), 1);
    assert_eq!(count(&world.rows(theirs).await, State::Success), 0);
}
