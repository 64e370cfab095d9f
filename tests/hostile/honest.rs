//! An honest store with an object of every kind, and messages of every kind.

use std::collections::BTreeSet;
use std::time::Duration;

use afn::catalog::Catalog;
use afn::layout::batch::{MaxFailures, Then};
use afn::layout::{Key, Message};
use afn::model::{BatchId, BatchLimits, CallId, Retention, Source};
use afn::seam::store::{ByteRange, List};
use afn::seam::{Deps, StoreExt as _};
use afn::submit::batch::BatchOptions;
use afn::submit::source::{self, OpenOptions, Pass};
use afn::submit::{cancel_batch, retry};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fields;
use crate::world::{BAD, INNOCENT, MINUTE, Object, World, name};

/// Which kind of object a key names; to be changed with [`Key`].
pub fn kind(key: &Key) -> Option<&'static str> {
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
    pub others: Vec<Object>,
    /// The queue's place among calls, chunks and batches.
    pub messages: Vec<(usize, String)>,
    pub calls: Vec<CallId>,
    pub batches: Vec<BatchId>,
}

/// A function's folder with one file.
fn archive() -> Bytes {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    tar.append_data(&mut header, "run", &b"true"[..]).expect("appended");
    tar.into_inner().and_then(GzEncoder::finish).expect("an archive").into()
}

impl World {
    fn all_options(&self) -> BatchOptions {
        BatchOptions {
            then: Some(Then { app: self.app.clone(), route: "/f".parse().expect("a route") }),
            on_complete: Some("https://example.com/done".to_owned()),
            max_failures: Some(MaxFailures::Count(1_000)),
            attempts_max: Some(2),
            retry_backoff_ms: Some(1_000),
            limits: BatchLimits { concurrency_max: Some(9), rate_max: Some("99/s".parse().expect("a rate")) },
            retention: Some(Retention::For(Duration::from_secs(86_400))),
            ..BatchOptions::default()
        }
    }
}

impl World {
    /// What is on the queues, and one message of each kind with all that it can carry.
    async fn all_messages(&self) -> Vec<(usize, String)> {
        let mut messages = Vec::new();
        for (index, lane) in self.lanes().into_iter().enumerate() {
            loop {
                let received = lane.live.receive(10, Duration::ZERO, MINUTE * 60).await.expect("received");
                if received.is_empty() {
                    break;
                }
                messages.extend(received.into_iter().map(|message| (index, message.body)));
            }
        }
        messages.extend(self.messages());
        messages
    }

    /// The objects of the app, and those of the other one.
    async fn all_objects(&self) -> (Vec<Object>, Vec<Object>) {
        let (mut objects, mut others) = (Vec::new(), Vec::new());
        for entry in self.deps.store.list_all(List::all("")).await.expect("a list").entries {
            let key: Key = entry.key.parse().expect("a key");
            let found = self.deps.store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("there");
            let (note, content_type) = (found.info.metadata, found.info.content_type);
            let is_other = entry.key.starts_with(&format!("apps/{INNOCENT}/"));
            let of = if is_other { &mut others } else { &mut objects };
            of.push(Object { key, body: found.body, note, content_type });
        }
        (objects, others)
    }
}

impl Honest {
    /// A batch that is over and retried, one that is half done and cancelled, one that is open, those of other sources, one
    /// that was cancelled before it began, the retry of the first; calls likewise.
    pub async fn make() -> Honest {
        let mut world = World::new();
        world.put_data().await;
        let Deps { store, clock, rng, .. } = &world.deps;
        afn::store_id::find_or_create(&**store, &**clock, &**rng).await.expect("an id");
        let (victim, innocent) = (world.app.clone(), name(INNOCENT));
        let image = || Source::Image { reference: "f".to_owned(), digest: Some("sha256:7".to_owned()) };
        for app in [&victim, &innocent] {
            world.publish(app, "f", image()).await;
        }
        let archive = archive();
        let bytes = archive.len() as u64;
        let sha256 = Catalog::new(world.deps.clone()).put_archive(&victim, archive).await.expect("put");
        world.publish(&victim, "g", Source::Archive { sha256, bytes }).await;
        let over = [world.call(&victim, Some("key")).await, world.failing_call().await];
        let long = "x".repeat(1_200_000);
        let lines = format!("1\n2\n{long}\n4\n{BAD}\n");
        world.batches.push(world.batch(&lines, world.all_options()).await);
        let cancelled = world.batch("1\n2\n", BatchOptions::default()).await;
        cancel_batch::cancel(&world.deps, cancelled, "somebody", "enough").await.expect("cancelled");
        assert!(world.work(&[]).await, "an honest store is worked on");
        let options =
            BatchOptions { max_failures: Some(MaxFailures::Percent(90)), ..BatchOptions::default() };
        let lines: String = (1..=70).map(|line| format!("{line}\n")).collect();
        world.batches.push(world.batch(&lines, options).await);
        world.batches.push(world.batch(&lines, BatchOptions::default()).await);
        let region = Some("eu-central-1".parse().expect("a region"));
        world.batches.push(
            world
                .batch_at(
                    "s3://data/in/",
                    OpenOptions { region, ..OpenOptions::default() },
                    BatchOptions::default(),
                )
                .await,
        );
        let delimiter = Some(";".parse().expect("a delimiter"));
        let table = OpenOptions { delimiter, ..OpenOptions::default() };
        world.batches.push(world.batch_at("s3://data/table.csv", table, BatchOptions::default()).await);
        let array = source::array("0-9:3".parse().expect("a range"));
        let options = BatchOptions { index_env: Some("INDEX".to_owned()), ..BatchOptions::default() };
        world.batches.push(world.batch_of(array, options).await);
        let bodies = OpenOptions { pass: Some(Pass::Body), ..OpenOptions::default() };
        let bodies = world.batch_at("s3://data/in/", bodies, world.all_options()).await;
        let retried = retry::retry(&world.deps, world.batches[0], BatchOptions::default(), &|_| {}).await;
        world.batches.extend([bodies, cancelled, retried.expect("retried").batch]);
        world.calls = vec![over[0], world.call(&victim, None).await, over[1]];
        world.call(&innocent, None).await;
        world.by_hand().await;
        let messages = world.all_messages().await;
        let (objects, others) = world.all_objects().await;
        Honest { objects, others, messages, calls: world.calls, batches: world.batches }
    }

    /// How many objects and messages there are.
    pub fn count(&self) -> usize {
        self.objects.len() + self.messages.len()
    }

    /// The batches that an object or message names, by its key or text, those that belong to them, and else one in turn.
    pub fn batches_of(&self, text: &str, turn: u64) -> Vec<BatchId> {
        let is_named = |batch: &&BatchId| text.contains(&batch.to_string());
        let mut named: Vec<BatchId> = self.batches.iter().filter(is_named).copied().collect();
        if named.is_empty() {
            named.push(self.batches[turn as usize % self.batches.len()]);
        }
        // A batch and its retry.
        let (over, retry) = (self.batches[0], *self.batches.last().expect("batches"));
        if named.contains(&over) != named.contains(&retry) {
            named.push(if named.contains(&over) { retry } else { over });
        }
        named
    }

    /// The batches that a world with these ones does not need: two that are small are always there, for lists.
    pub fn left_out(&self, batches: &[BatchId]) -> Vec<String> {
        let is_left = |batch: &&BatchId| !batches.contains(batch) && !self.batches[4..=5].contains(batch);
        self.batches.iter().filter(is_left).map(BatchId::to_string).collect()
    }

    pub fn has_every_kind(&self) {
        let kinds: BTreeSet<&str> = self.objects.iter().filter_map(|object| kind(&object.key)).collect();
        assert_eq!(kinds.len(), KINDS, "{kinds:?}");
        fields::are_all_there(self);
        let kind = |message: Message| match message {
            Message::Call(_) => "call",
            Message::Range(_) => "range",
            Message::Supervise(_) => "supervise",
        };
        let messages = self.messages.iter().map(|(_, body)| kind(Message::decode(body).expect("a message")));
        assert_eq!(messages.collect::<BTreeSet<_>>().len(), 3);
    }
}
