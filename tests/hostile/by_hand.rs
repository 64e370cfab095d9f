//! Messages and objects that an honest run on a good day leaves none of.

use std::time::Duration;

use afn::catalog::Catalog;
use afn::layout::batch::{Cancelled, Deleted, Dispatched, Mark, Pointer, Sealed};
use afn::layout::chunk;
use afn::layout::control::{Control, Share, Shares};
use afn::layout::message::Idle;
use afn::layout::object::{self, MarkKind, Reconciled, Settings, Started, TaskPanic, Unsuited};
use afn::layout::watermarks::{AppWatermarks, Reach, Watermark, Watermarks};
use afn::layout::{CallMessage, Key, Message, PendingCall, RangeMessage, Runs, SuperviseMessage};
use afn::model::{
    App, AppName, AttemptHistory, BatchId, BatchLimits, BatchRef, CallFacts, CallId, CallRef, DeliveryId,
    Digest, MarkId, MessageId, Outcome, PanicId, Retention, State, Time, WatermarksId,
};
use afn::outcomes::log::Addition;
use afn::outcomes::{Chunk, Log};
use afn::seam::StoreExt as _;
use afn::seam::store::{ByteRange, List, PutObject};
use bytes::Bytes;

use crate::world::World;

const MARK_KINDS: [MarkKind; 6] =
    [MarkKind::Sole, MarkKind::Running, MarkKind::Reading, MarkKind::Among, MarkKind::Alone, MarkKind::Given];

impl World {
    fn delivery(&self) -> DeliveryId {
        DeliveryId { message: MessageId::new(self.deps.now(), 77), delivery: 1 }
    }

    /// Messages with all that one can carry. Written out, so that a new field is missed here.
    pub fn messages(&self) -> [(usize, String); 3] {
        let DeliveryId { message: id, .. } = self.delivery();
        let (mark, app, now) =
            (MarkId { delivery: self.delivery(), n: 1 }, self.app.clone(), self.deps.now());
        let history = AttemptHistory { attempts: 3, failures: 1, start_failures: 1 };
        let call = CallMessage {
            id,
            app: app.clone(),
            call: self.calls[1],
            history,
            losses: vec![self.delivery()],
            alone_since: Some(now),
            again: true,
        };
        let calls = [(3, history), (4, history), (9, AttemptHistory::default())].into_iter().collect();
        let range = RangeMessage {
            id,
            app: app.clone(),
            batch: self.batches[2],
            chunk: 64,
            calls,
            mean_ms: Some(3),
            lost_before: true,
            again: true,
            losses: Runs::one(3, 4, vec![mark]),
            alone_since: Some(now),
        };
        let supervise = SuperviseMessage {
            id,
            app,
            batch: self.batches[2],
            extra: true,
            idle: Some(Idle { since: now, chunks: 2, parts: 1, look_at: now.plus_ms(60_000) }),
            retried: Runs::one(5, 6, history),
            webhook_tries: 1,
        };
        [(0, Message::Call(call)), (1, Message::Range(range)), (2, Message::Supervise(supervise))]
            .map(|(lane, message)| (lane, message.encode()))
    }

    pub async fn by_hand(&self) {
        self.marks().await;
        self.facts_of_batches().await;
        self.facts_of_store().await;
        self.half_done_log().await;
        self.definitions().await;
        self.outcomes().await;
        self.other_versions().await;
    }

    fn open(&self) -> BatchRef {
        BatchRef::new(&self.app, self.batches[2])
    }

    /// Of lost workers, one of each kind, and what makes them void.
    async fn marks(&self) {
        let (store, app, open, at) = (&*self.deps.store, &self.app, self.open(), self.deps.now());
        let call = CallRef { app: app.clone(), call: self.calls[1] };
        for (message, kind) in (100..).zip(MARK_KINDS) {
            let started = Started {
                at,
                kind,
                attempt: 2,
                failures: 1,
                start_failures: 1,
                lease_ms: Some(60_000),
                worker: "w".to_owned(),
            };
            let delivery = DeliveryId { message: MessageId::new(at, message), delivery: 1 };
            store.put_fact(&(call.clone(), delivery), &started).await.expect("put");
            let mark = Mark { calls: vec![(3, 4), (9, 9)], kind, worker: "w".to_owned(), at };
            store.put_fact(&(open.clone(), 64, MarkId { delivery, n: 1 }), &mark).await.expect("put");
        }
        let why = "it has no GPU".to_owned();
        let unsuited = Unsuited { why, worker: "w".to_owned(), at, failed_starts: Some(2) };
        store.put_fact(&(call.clone(), self.delivery().message), &unsuited).await.expect("put");
        let voided = DeliveryId { message: MessageId::new(at, 78), delivery: 1 };
        for (key, body) in [
            (Key::Void(app.clone(), call.call, voided), Bytes::new()),
            (Key::MarkVoid(app.clone(), open.batch, 64, voided), Bytes::new()),
            (Key::BatchUnsuited(app.clone(), open.batch, Digest::of(b"why")), object::encode(&unsuited)),
        ] {
            store.put(&key, PutObject::create(body)).await.expect("put");
        }
    }

    async fn facts_of_batches(&self) {
        let (store, app, open, at) = (&*self.deps.store, &self.app, self.open(), self.deps.now());
        let (nonce, worker) = (|| self.deps.nonce(), "w".to_owned());
        let cancelled = Cancelled { by: "somebody".to_owned(), reason: "enough".to_owned(), at };
        store.put_fact(&BatchRef::new(app, self.batches[1]), &cancelled).await.expect("put");
        let dispatched = Dispatched { sent: Runs::one(1, 9, ()), through: 64, nonce: nonce() };
        store.put_fact(&(open.clone(), 0), &dispatched).await.expect("put");
        let limits = BatchLimits { concurrency_max: Some(2), rate_max: Some("9/s".parse().expect("a rate")) };
        for (batch, paused) in [(2, false), (4, true)] {
            let control = Control { nonce: nonce(), paused, limits, by: worker.clone(), at };
            store.put_fact(&BatchRef::new(app, self.batches[batch]), &control).await.expect("put");
        }
        let share = Share { holder: nonce(), worker: worker.clone(), renewal: 3, calls: 1, per_hour: 99 };
        let shares = Shares { nonce: nonce(), shares: vec![share] };
        store.put_fact(&open, &shares).await.expect("put");
        // One of which only this is left.
        let gone = BatchRef::new(app, BatchId::new(Time(at.0 - 9), 9 << 50));
        let pointer = Pointer { app: app.clone(), nonce: nonce() };
        store.put_fact(&gone.batch, &pointer).await.expect("put");
        let deleted = Deleted { by: worker, reason: "its time was over".to_owned(), at };
        store.put_fact(&gone, &deleted).await.expect("put");
        // Of an array of 4 calls, which was sealed with a gap.
        let array = BatchRef::new(app, self.batches[5]);
        store.delete(&[Key::Sealed(array.app.clone(), array.batch)]).await.expect("deleted");
        let sealed = Sealed { last: 6, missing: vec![(5, 6)], at, by: "somebody".to_owned() };
        store.put_fact(&array, &sealed).await.expect("put");
    }

    async fn facts_of_store(&self) {
        let (store, at, worker) = (&*self.deps.store, self.deps.now(), "w".to_owned());
        store.put_fact(&7, &Reconciled { worker: worker.clone(), at }).await.expect("put");
        let settings =
            Settings { retention: Some(Retention::Never), updated_at: at, nonce: self.deps.nonce() };
        store.put_fact(&(), &settings).await.expect("put");
        let marks = watermarks(&self.app, at, self.calls[1], self.batches[0]);
        store.put_fact(&WatermarksId::new(at, 7), &marks).await.expect("put");
        let panic = TaskPanic::new(&worker, "supervisor", "a bug", at);
        store.put_fact(&PanicId::new(at, 7), &panic).await.expect("put");
    }

    /// Of a chunk, with the rows of the batch that is over.
    async fn half_done_log(&self) {
        let (store, app, at) = (&*self.deps.store, &self.app, self.deps.now());
        let [over, half] = [0, 1].map(|index| BatchRef::new(app, self.batches[index]));
        let batch = store.read_fact(&half).await.expect("a batch");
        let parts =
            store.list_all(List::all(afn::layout::key::outcomes(app, over.batch))).await.expect("listed");
        let key = parts.entries[0].to_key();
        let body = store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("there").body;
        let rows = afn::layout::part::Part::open(&key, body).and_then(|part| part.all_rows()).expect("rows");
        let mut log = Log::fresh(Chunk::of(app, half.batch, &batch, 64));
        let history = AttemptHistory { attempts: 2, failures: 1, start_failures: 1 };
        let pending = PendingCall { due: at.plus_ms(60_000), history };
        let addition = Addition {
            rows,
            pending: [(7, pending)].into(),
            spent: [("get".to_owned(), 3)].into(),
            executions: 2,
            executions_ms: 9,
            started: true,
            running: 1,
            tells: true,
            worker: "w".to_owned(),
        };
        log.append(store, &addition).await.expect("appended");
    }

    /// A chunk of a bucket with versions.
    async fn other_versions(&self) {
        let (store, app) = (&*self.deps.store, &self.app);
        let fetched = Key::Chunk(app.clone(), self.batches[3], 3);
        let found = store.get(&fetched, ByteRange::Whole(u64::MAX)).await.expect("a chunk");
        let mut records = chunk::decode(&fetched, found.body).expect("records");
        records[2].object.as_mut().expect("an object").version = Some("v7".to_owned());
        store.delete(std::slice::from_ref(&fetched)).await.expect("deleted");
        let object = PutObject::create(chunk::encode(&records).expect("encoded"));
        let metadata = found.info.metadata;
        store.put(&fetched, PutObject { metadata, ..object }).await.expect("put");
    }

    /// Calls of which only the outcome is left, one for each way to end.
    async fn outcomes(&self) {
        let (at, app) = (self.deps.now(), &self.app);
        let facts = CallFacts {
            function: "f".parse().expect("a name"),
            version: "0.0.1".parse().expect("a version"),
            route: "/f".parse().expect("a route"),
            created_at: at,
            not_before: None,
            headers: Default::default(),
            nonce: self.deps.nonce(),
        };
        for (random, state) in (1..).zip(State::ALL.into_iter().filter(|state| state.is_final())) {
            let outcome = Outcome::without_run(&facts, state, Some("so it is".to_owned()), at);
            let of = CallRef { app: app.clone(), call: CallId::single(Time(at.0 - 5), random) };
            self.deps.store.put_fact(&of, &outcome).await.expect("put");
        }
    }

    /// Definitions with all that people can say.
    async fn definitions(&self) {
        let (catalog, app) = (Catalog::new(self.deps.clone()), &self.app);
        let change = |app: &mut App| {
            app.config = [("LEVEL".to_owned(), "3".to_owned())].into();
            app.annotations = [("team".to_owned(), serde_json::json!({ "size": 4 }))].into();
            app.retention = Some(Retention::For(Duration::from_secs(86_400)));
            Ok(())
        };
        catalog.update_app(app, change).await.expect("updated");
    }
}

fn watermarks(app: &AppName, at: Time, call: CallId, batch: BatchId) -> Watermarks {
    let before = Time(at.0 - 7);
    let calls = || {
        let reach = || Reach { upto: Some(CallId::single(before, 1)), clear_until: before };
        Watermark { first: reach(), second: reach(), open: [(call, at)].into() }
    };
    let batches = || {
        let reach = || Reach { upto: Some(BatchId::new(before, 1 << 50)), clear_until: before };
        Watermark { first: reach(), second: reach(), open: [(batch, at)].into() }
    };
    let marks = AppWatermarks {
        lost_calls: calls(),
        lost_batches: batches(),
        kept_calls: calls(),
        old_calls: calls(),
        kept_batches: batches(),
        old_batches: batches(),
        retention: Some(Retention::Never),
    };
    Watermarks { worker: "w".to_owned(), keys_listed_at: Some(before), apps: [(app.clone(), marks)].into() }
}
