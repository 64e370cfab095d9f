//! Objects that cannot be read, and messages that say what is not so: each costs its own call or batch an outcome that says why, and
//! nobody else anything.

use std::time::Duration;

use afn::layout::batch::{Chunking, Dispatched, Retry};
use afn::layout::{CallMessage, Key, Message, RangeMessage, Runs, SuperviseMessage, key};
use afn::limits;
use afn::model::id::NUMBER_MAX;
use afn::model::{AttemptHistory, BatchId, BatchRef, DeliveryId, MarkId, MessageId, Nonce, State};
use afn::results::rows::{Options, Rows};
use afn::seam::queue::Outgoing;
use afn::seam::store::{ByteRange, List, ListPage, Object, ObjectInfo, PutObject, StoreError};
use afn::seam::store::{ETag, ObjectVersion};
use afn::seam::{Queue as _, Store, StoreExt as _};
use afn::submit::batch::BatchOptions;
use async_trait::async_trait;

use super::script::{Script, answers, h, ms, s};
use super::world::{World, count, messages};

/// Puts something else in the place of an object.
async fn spoil(world: &World, key: &Key, body: Vec<u8>) {
    let metadata = world.store.head(key).await.expect("it is there").metadata;
    world.store.delete(std::slice::from_ref(key)).await.expect("deleted");
    let object = PutObject::create(body);
    let object = match metadata {
        Some(metadata) => object.metadata(metadata),
        None => object,
    };
    world.store.put(key, object).await.expect("put");
}

async fn version(world: &World) -> Key {
    let versions = format!("{}f/versions/", key::functions(&world.app));
    let listed = world.store.list_all(List::all(versions)).await.expect("listed");
    listed.entries[0].to_key()
}

fn chunk(world: &World, batch: BatchId, last: u64) -> Key {
    Key::Chunk(world.app.clone(), batch, last)
}

/// What is broken says so in an outcome, after some hours in which it could have been mended; what is not is done meanwhile.
async fn ends_with(world: &World, call: afn::model::CallId, reason: &str) {
    let _worker = world.start("w", 2, &Script::always(answers(ms(10))));
    world.publish_for("g", None, 1, s(1), s(300)).await;
    let beside = world.call_of("g", "fine").await;
    let end = world.end_within(beside, s(60)).await.expect("an outcome");
    assert_eq!(end.status, State::Success);
    let end = world.end_within(call, h(12)).await.unwrap_or_else(|| panic!("no outcome: {reason}"));
    assert_eq!(end.status, State::Error);
    let why = end.reason.expect("a reason");
    assert!(why.contains(reason), "{why}");
    assert_eq!(world.executions().len(), 1);
    tokio::time::sleep(s(60)).await;
    assert_eq!((messages(&world.queues[0]).await, messages(&world.queues[1]).await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broken_version_is_the_end_of_its_calls() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let call = world.call("x").await;
    spoil(&world, &version(&world).await, b"{".to_vec()).await;
    ends_with(&world, call, "it could not be read: object `apps/field/functions/f/versions/").await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_version_is_the_end_of_a_batch() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let batch = world.batch(3, 0).await;
    spoil(&world, &version(&world).await, b"{".to_vec()).await;
    ends_with(
        &world,
        batch.call(2),
        "its function could not be read: object `apps/field/functions/f/versions/",
    )
    .await;
    assert!(world.over(batch, h(1)).await.is_some());
}

/// What a reader skips need not be a value.
#[tokio::test(start_paused = true)]
async fn a_version_with_more_than_values_is_the_end_of_its_calls() {
    for more in [r#""x":1e400"#, r#""x":"\ud800""#, &format!(r#""x":{}{}"#, "[".repeat(120), "]".repeat(120))]
    {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let call = world.call("x").await;
        let key = version(&world).await;
        let body = world.store.find(&key, u64::MAX).await.expect("found").expect("there").body;
        let more = format!("{{{more},{}", std::str::from_utf8(&body[1..]).expect("JSON"));
        spoil(&world, &key, more.into_bytes()).await;
        ends_with(&world, call, "holds another version than its name says").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_too_large_is_the_end_of_its_call() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let call = world.call("x").await;
    let payload = Key::Payload(world.app.clone(), call);
    spoil(&world, &payload, vec![b'x'; limits::PAYLOAD_BYTES_MAX as usize + 1]).await;
    ends_with(&world, call, "bytes, the most is").await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_too_large_or_broken_is_the_end_of_its_calls() {
    for body in [vec![b'x'; limits::CHUNK_OBJECT_BYTES_MAX as usize + 1], b"junk".to_vec()] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let batch = world.batch(3, 0).await;
        spoil(&world, &chunk(&world, batch, 3), body).await;
        ends_with(&world, batch.call(2), "its chunk could not be read: object `apps/field/batches/").await;
        assert!(world.over(batch, h(1)).await.is_some());
    }
}

/// No outcome can be made of it, so its message is kept with the reason.
#[tokio::test(start_paused = true)]
async fn a_call_whose_facts_are_broken_is_a_dead_letter() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let call = world.call("x").await;
    let payload = Key::Payload(world.app.clone(), call);
    world.store.delete(std::slice::from_ref(&payload)).await.expect("deleted");
    let broken = PutObject::create("x").metadata("not JSON".to_owned());
    world.store.put(&payload, broken).await.expect("put");
    let _worker = world.start("w", 2, &Script::always(answers(ms(10))));
    tokio::time::sleep(h(12)).await;
    assert_eq!(messages(&world.queues[0]).await, 0);
    let letters = world.deps.queues.calls.dead.receive(10, Duration::ZERO, s(60)).await.expect("received");
    let why = letters[0].metadata.clone().expect("a reason");
    assert!(why.starts_with(&format!("read what call {call} of app field needs: ")), "{why}");
    assert!(world.executions().is_empty());
}

/// A store of which one object takes whoever reads it along.
struct Deadly {
    inner: std::sync::Arc<dyn Store>,
    deadly: Key,
}

#[async_trait]
impl Store for Deadly {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        self.inner.put(key, object).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        if *key == self.deadly {
            std::future::pending::<()>().await;
        }
        self.inner.get(key, range).await
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        self.inner.get_version(key, version, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.inner.list(request).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_takes_its_readers_along_is_given_up() {
    let mut world = World::new();
    world.publish(1, s(1), s(300)).await;
    let batch = world.batch(3, 0).await;
    let deadly = chunk(&world, batch, 3);
    world.deps.store = std::sync::Arc::new(Deadly { inner: world.deps.store.clone(), deadly });
    let mut lost = 0;
    while world.rows(batch).await.is_empty() {
        assert!(lost < 12, "{lost} workers were lost");
        let worker = world.start(&format!("w{lost}"), 2, &Script::always(answers(ms(10))));
        tokio::time::sleep(s(90)).await;
        worker.kill().await;
        lost += 1;
    }
    let end = world.end(batch.call(1)).await.expect("an outcome");
    assert_eq!(
        (end.status, end.reason.as_deref()),
        (State::Error, Some("its chunk could not be read, 8 workers were lost while reading it"))
    );
    assert!(world.executions().is_empty());
}

async fn send(world: &World, queue: usize, message: Message) {
    world.queues[queue].send(vec![Outgoing::new(message.encode())]).await.expect("sent");
}

/// Marks that do not exist condemn nobody.
#[tokio::test(start_paused = true)]
async fn losses_that_a_message_makes_up_end_no_call() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let (call, batch) = (world.call("x").await, world.batch(3, 0).await);
    let made_up: Vec<DeliveryId> = (1..=limits::LOSSES_MAX as u32)
        .map(|delivery| DeliveryId { message: MessageId::new(world.deps.now(), 9), delivery })
        .collect();
    let id = |n| MessageId::new(world.deps.now(), n);
    let losses = made_up.clone();
    send(
        &world,
        0,
        Message::Call(CallMessage { losses, ..CallMessage::new(id(1), world.app.clone(), call) }),
    )
    .await;
    let marks = made_up.iter().map(|delivery| MarkId { delivery: *delivery, n: 1 }).collect();
    let calls = Runs::one(1, 3, AttemptHistory::default());
    let range = RangeMessage::new(id(2), world.app.clone(), batch, 3, calls);
    let losses = Runs::one(1, 3, marks);
    send(&world, 1, Message::Range(RangeMessage { losses, again: true, ..range })).await;
    let _worker = world.start("w", 2, &Script::always(answers(ms(10))));
    assert_eq!(world.end_within(call, h(1)).await.map(|end| end.status), Some(State::Success));
    assert!(world.over(batch, h(1)).await.is_some());
    assert_eq!(count(&world.rows(batch).await, State::Success), 3);
}

/// Numbers without end, in a message or in what is stored, are not counted out one by one.
#[tokio::test(start_paused = true)]
async fn numbers_without_end_cost_nothing() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let batch = world.batch(3, 0).await;
    let history = AttemptHistory { attempts: 1, ..AttemptHistory::default() };
    let message = SuperviseMessage::new(MessageId::new(world.deps.now(), 9), world.app.clone(), batch);
    let retried = Runs::one(1, NUMBER_MAX, history);
    send(&world, 2, Message::Supervise(SuperviseMessage { retried, ..message })).await;

    // A chunk far behind the others, of which nothing can be read, and an entry that lets it be sent.
    let chunking = Chunking { first_calls: 2, ..Chunking::default() };
    let other = world.batch_of("f", 6, 2, BatchOptions { chunking, ..BatchOptions::default() }).await;
    world.store.put(&chunk(&world, other, NUMBER_MAX), PutObject::create("x")).await.expect("put");
    let entry = Dispatched { sent: Runs::default(), through: NUMBER_MAX, nonce: Nonce::new(1) };
    world.store.put_fact(&(BatchRef::new(&world.app, other), 0), &entry).await.expect("put");

    let worker = world.start("w", 2, &Script::always(answers(ms(10))));
    for batch in [batch, other] {
        assert!(world.over(batch, h(8)).await.is_some());
        assert!(world.rows(batch).await.iter().all(|row| row.status == State::Success));
    }
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn retries_that_name_each_other_are_followed_to_an_end() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let batch = world.batch(3, 0).await;
    let _worker = world.start("w", 2, &Script::always(answers(ms(10))));
    assert!(world.over(batch, h(1)).await.is_some());
    let retry = Retry { batch, nonce: Nonce::new(1) };
    world.store.put_fact(&(BatchRef::new(&world.app, batch), 1), &retry).await.expect("put");
    let options = Options { latest: true, ..Options::default() };
    let error = Rows::open(&world.deps, batch, options).await.err().expect("no end");
    assert!(error.message().ends_with("is one of more than 64 that retry one another"), "{error}");
    assert!(Rows::open(&world.deps, batch, Options::default()).await.is_ok());
}
