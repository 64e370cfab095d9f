//! Batches that nobody will ever finish (a dead submitter, a source that is silent) beside batches that people wait for: each
//! that something happens to has a supervisor, and one that nothing happens to costs next to nothing.

use std::time::Duration;

use afn::Result;
use afn::layout::Key;
use afn::layout::batch::MaxFailures;
use afn::model::{BatchId, State, Time};
use afn::seam::Store as _;
use afn::seam::store::{ByteRange, PutObject};
use afn::submit::batch::{BatchOptions, BatchRequest, Progress, submit};
use afn::submit::cancel_batch::cancel;
use afn::submit::resume::{ResumeRequest, resume};
use afn::submit::seal::{Submitter, seal};
use afn::submit::source::{self, Origin, Source, SourceRecord};
use async_trait::async_trait;
use tokio::task::JoinSet;

use super::script::{Script, answers, fails, h, ms, s};
use super::world::{World, count, messages};

/// Gives some records, then waits, for ever or for so long, then gives the rest.
struct Pausing {
    inner: Box<dyn Source>,
    pause: Option<Duration>,
    given: u32,
}

#[async_trait]
impl Source for Pausing {
    fn origin(&self) -> Origin {
        self.inner.origin()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        self.given += 1;
        match (self.given, self.pause) {
            (1, _) => self.inner.next().await,
            (2, Some(pause)) => {
                tokio::time::sleep(pause).await;
                let rest = source::text("c\nd\n".to_owned(), "lines".parse().expect("a format"), "lines");
                self.inner = rest;
                self.inner.next().await
            }
            (2, None) => std::future::pending().await,
            (_, _) => Ok(Vec::new()),
        }
    }
}

/// `name`: what a pipe gives is stored without waiting for more, a file's records fill a chunk first.
fn request(world: &World, name: &str, pause: Option<Duration>) -> BatchRequest {
    let inner = source::text("a\nb\n".to_owned(), "lines".parse().expect("a format"), name);
    BatchRequest {
        app: world.app.clone(),
        route: "/f".parse().expect("a route"),
        source: Box::new(Pausing { inner, pause, given: 0 }),
        options: BatchOptions::default(),
    }
}

/// Submitters that hang, as with a pipe that nobody writes to.
async fn open_batches(world: &World, batches: usize, name: &str) -> JoinSet<()> {
    let mut submitters = JoinSet::new();
    for _ in 0..batches {
        let (deps, request) = (world.deps.clone(), request(world, name, None));
        submitters.spawn(async move { drop(submit(&deps, request, &|_| {}).await) });
        tokio::time::sleep(ms(200)).await;
    }
    submitters
}

/// A pipe's records are stored as they come, those of a file wait until they fill a chunk.
#[tokio::test(start_paused = true)]
async fn a_batch_beside_many_open_ones_has_a_supervisor() {
    for (open, name) in
        [(7, "lines"), (8, "lines"), (200, "lines"), (200, source::STDIN), (600, source::STDIN)]
    {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let _worker = world.start("w", 4, &Script::always(answers(ms(100))));
        let _submitters = open_batches(&world, open, name).await;
        let batch = world.batch(10, 0).await;
        let fired = world.fired(batch, h(1)).await;
        assert_eq!(count(&world.rows(batch).await, State::Success), 10);
        assert!(fired.is_some_and(|fired| fired < s(60)), "beside {open} of {name}: {fired:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_beside_many_open_ones_stops_at_its_failures() {
    for open in [7, 8, 200] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let _worker = world.start("w", 4, &Script::always(fails().takes(s(1))));
        let _submitters = open_batches(&world, open, "lines").await;
        let options = BatchOptions { max_failures: Some(MaxFailures::Count(5)), ..BatchOptions::default() };
        let batch = world.batch_of("f", 1_000, 0, options).await;
        tokio::time::sleep(s(3_000)).await;
        let failed = count(&world.rows(batch).await, State::Error);
        assert!(failed < 100, "beside {open} open ones {failed} calls failed");
    }
}

/// Open batches hold up no batch that is over: each that is submitted beside them fires, one after another.
#[tokio::test(start_paused = true)]
async fn batch_after_batch_fires_beside_open_ones() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let _worker = world.start("w", 4, &Script::always(answers(ms(100))));
    open_batches(&world, 20, source::STDIN).await.shutdown().await;
    for n in 0..5 {
        let batch = world.batch(10, 0).await;
        let fired = world.fired(batch, h(1)).await;
        assert!(fired.is_some_and(|fired| fired < s(60)), "batch {n}: {fired:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_batch_costs_little() {
    for name in ["lines", source::STDIN] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let worker = world.start("w", 4, &Script::always(answers(Duration::ZERO)));
        open_batches(&world, 1, name).await.shutdown().await;
        tokio::time::sleep(h(1)).await;
        let all = |spent: Vec<(&str, u64)>| spent.iter().map(|(_, requests)| requests).sum::<u64>();
        let mut quarters = Vec::new();
        for _ in 0..8 {
            let before = world.counts.snapshot();
            tokio::time::sleep(s(15 * 60)).await;
            quarters.push(all(world.spent(before)));
        }
        let mut days = Vec::new();
        for _ in 1..=8 {
            let before = world.counts.snapshot();
            tokio::time::sleep(h(24)).await;
            let lists = world.counts.snapshot().list.requests - before.list.requests;
            days.push((all(world.spent(before)), lists));
        }
        assert!(quarters.iter().all(|requests| *requests <= 10), "{name}, quarters of an hour: {quarters:?}");
        assert!(days.iter().all(|(requests, _)| *requests <= 960), "{name}, requests and lists: {days:?}");
        assert!(days[4..].iter().all(|(_, lists)| *lists <= 25), "{name}, requests and lists: {days:?}");
        worker.stop().await;
        assert_eq!(messages(&world.queues[2]).await, 1, "it has one message still");
    }
}

/// The reconciler does not heap up supervisors of a batch that rests.
#[tokio::test(start_paused = true)]
async fn the_reconciler_leaves_no_heap_of_supervisors() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let mut config = world.config("w", 4);
    config.reconcile = true;
    let worker = world.start_with(config, |_| true, &Script::always(answers(Duration::ZERO)));
    open_batches(&world, 1, source::STDIN).await.shutdown().await;
    tokio::time::sleep(h(60)).await;
    worker.stop().await;
    assert_eq!(messages(&world.queues[2]).await, 1);
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Cancel,
    Seal,
    GoOn,
}

/// Whatever happens to a batch that rests brings its supervisor back.
#[tokio::test(start_paused = true)]
async fn a_batch_that_rests_is_taken_up_at_once() {
    for then in [Then::Cancel, Then::Seal, Then::GoOn] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        let _worker = world.start("w", 4, &Script::always(answers(ms(100))));
        let pause = matches!(then, Then::GoOn).then_some(h(12));
        let (deps, request) = (world.deps.clone(), request(&world, source::STDIN, pause));
        let (told, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let mut submitter = JoinSet::new();
        submitter.spawn(async move {
            let tell = |progress: Progress| _ = told.send(progress.batch);
            submit(&deps, request, &tell).await.map(drop)
        });
        let batch = begun.recv().await.expect("begun");
        let took = match then {
            Then::GoOn => {
                submitter.join_next().await.expect("a submitter").expect("no panic").expect("submitted");
                world.fired(batch, h(1)).await
            }
            Then::Cancel | Then::Seal => {
                tokio::time::sleep(s(60)).await;
                submitter.shutdown().await;
                tokio::time::sleep(h(5 * 24)).await;
                match then {
                    Then::Cancel => {
                        drop(cancel(&world.deps, batch, "field", "cancelled").await.expect("asked"))
                    }
                    _ => drop(seal(&world.deps, batch, "field", Submitter::Unknown).await.expect("sealed")),
                }
                world.fired(batch, h(1)).await
            }
        };
        assert!(took.is_some_and(|took| took < s(60)), "{then:?}: {took:?}");
    }
}

/// A submitter that died in its window leaves a gap that nobody will ever fill.
#[tokio::test(start_paused = true)]
async fn a_batch_with_a_gap_rests_too() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let _worker = world.start("w", 4, &Script::always(answers(Duration::ZERO)));
    let batch = world.batch(300, 64).await;
    world.over(batch, s(60)).await.expect("over");
    // The same chunks without the second one, in a batch of which no more is known.
    let gap = BatchId::new(Time(1_790_000_000_000), 77 << 50);
    for (old, new) in [
        (Key::Pointer(batch), Key::Pointer(gap)),
        (Key::Batch(world.app.clone(), batch), Key::Batch(world.app.clone(), gap)),
        (Key::Chunk(world.app.clone(), batch, 64), Key::Chunk(world.app.clone(), gap, 64)),
        (Key::Chunk(world.app.clone(), batch, 192), Key::Chunk(world.app.clone(), gap, 192)),
    ] {
        let object = world.store.get(&old, ByteRange::Whole(u64::MAX)).await.expect("there");
        let copy = PutObject { metadata: object.info.metadata.clone(), ..PutObject::create(object.body) };
        world.store.put(&new, copy).await.expect("stored");
    }
    let request = ResumeRequest { batch: gap, source: Some(request(&world, "lines", None).source) };
    let deps = world.deps.clone();
    let mut resuming = JoinSet::new();
    resuming.spawn(async move { drop(resume(&deps, request, &|_| {}).await) });
    tokio::time::sleep(h(1)).await;
    assert_eq!(world.rows(gap).await.len(), 128);
    let before = world.counts.snapshot();
    tokio::time::sleep(h(6)).await;
    let lists = world.counts.snapshot().list.requests - before.list.requests;
    assert!(lists <= 30, "{lists} lists in six hours: {:?}", world.spent(before));
}
