//! Messages that a worker cannot work on: of another store, of a newer program, unreadable; and tasks that panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use afn::error::Code;
use afn::event::Event;
use afn::layout::message::VERSION;
use afn::layout::object::TaskPanic;
use afn::layout::origin;
use afn::model::{MessageId, StoreId, Time};
use afn::results::panics::{self, RecentPanics};
use afn::seam::queue::{Depth, Outgoing, QueueError, Receipt, Received};
use afn::seam::rng::SeededRng;
use afn::seam::{Deps, Queue};
use afn::store_id::{Origin, StampQueue};
use async_trait::async_trait;

use super::script::{Execution, Script, answers, h, mismatches, ms, s};
use super::world::{Of, World, messages};

/// The world with its messages stamped, as a context opens it.
fn stamped(mut world: World) -> World {
    let Deps { store, clock, rng, events, .. } = world.deps.clone();
    let origin = Origin::new(store, clock, rng, events);
    let queues = &mut world.deps.queues;
    for lane in [&mut queues.calls, &mut queues.chunks, &mut queues.batches] {
        lane.live = Arc::new(StampQueue::new(lane.live.clone(), origin.clone()));
    }
    world
}

/// Two stores whose contexts were given the same queues.
fn two_stores() -> (World, World) {
    let (one, mut two) = (World::new(), World::new());
    two.deps.queues = one.deps.queues.clone();
    two.queues = one.queues.clone();
    // What they know of chance is not the same either.
    two.deps.rng = Arc::new(SeededRng::new(8));
    (stamped(one), stamped(two))
}

#[tokio::test(start_paused = true)]
async fn two_stores_on_one_queue_lose_nothing() {
    let (one, two) = two_stores();
    let mut workers = Vec::new();
    for (world, name) in [(&one, "w1"), (&two, "w2")] {
        world.publish(1, s(1), s(300)).await;
        workers.push(world.start(name, 2, &Script::always(answers(ms(200)))));
    }
    let (mut calls, mut batches) = (Vec::new(), Vec::new());
    for n in 0..20 {
        for world in [&one, &two] {
            calls.push((world, world.call(&n.to_string()).await));
        }
    }
    for world in [&one, &two] {
        batches.push((world, world.batch(300, 0).await));
    }
    for (world, batch) in batches {
        assert!(world.over(batch, h(1)).await.is_some(), "a batch was lost");
    }
    for (world, call) in calls {
        assert!(world.end_within(call, h(1)).await.is_some(), "{call} was lost");
    }
    let foreign = one.said(|event| matches!(event, Event::ForeignMessage { store, own, .. } if store != own));
    assert!((1..60).contains(&foreign), "it is said, and not with every message: {foreign}");
    assert_eq!((one.executions().len(), two.executions().len()), (320, 320));
}

/// The other context has no worker for a day: its messages wait, and none goes to the dead letters.
#[tokio::test(start_paused = true)]
async fn what_is_of_another_store_is_never_deleted() {
    let (one, two) = two_stores();
    for world in [&one, &two] {
        world.publish(1, s(1), s(300)).await;
    }
    let theirs = two.call("theirs").await;
    let worker = one.start("w1", 2, &Script::always(answers(Duration::ZERO)));
    tokio::time::sleep(h(24)).await;
    assert_eq!(messages(&one.queues[0]).await, 1);
    assert!(one.deps.queues.calls.dead.depth().await.expect("never fails").is_dry());
    let ours = one.call("ours").await;
    tokio::time::sleep(s(5)).await;
    assert!(one.end(ours).await.is_some(), "the queue goes on being received");
    worker.stop().await;
    let _other = two.start("w2", 2, &Script::always(answers(Duration::ZERO)));
    assert!(two.end_within(theirs, s(120)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_program_wrote_holds_up_nothing() {
    let world = stamped(World::new());
    world.publish(1, s(1), s(300)).await;
    let _worker = world.start("w", 2, &Script::always(answers(Duration::ZERO)));
    let newer = r#"{"v":99,"kind":"call","from":"the future"}"#;
    let unknown = format!(r#"{{"v":{},"kind":"unheard of"}}"#, VERSION);
    for (queue, body) in [(0, newer), (1, newer), (2, newer), (0, &unknown), (0, "garbage")] {
        world.queues[queue].send(vec![Outgoing::new(body.to_owned())]).await.expect("sent");
    }
    tokio::time::sleep(s(30)).await;
    let dead = |index: usize| world.deps.queues.all()[index].1.dead.clone();
    assert_eq!(messages(&*dead(0)).await, 1, "only what no afn wrote");
    let call = world.call("fine").await;
    let batch = world.batch(10, 0).await;
    assert!(world.over(batch, s(60)).await.is_some());
    assert!(world.end(call).await.is_some());
    // After its put-backs each is a dead letter, with the reason.
    tokio::time::sleep(h(6)).await;
    assert_eq!((messages(&world.queues[0]).await, messages(&world.queues[2]).await), (0, 0));
    let letters = dead(0).receive(10, Duration::ZERO, s(60)).await.expect("received");
    let mut notes: Vec<String> =
        letters.into_iter().map(|letter| letter.metadata.unwrap_or_default()).collect();
    notes.sort();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert_eq!(notes[0], "format 99 is newer than this afn");
    assert!(notes[1..].iter().all(|note| note.starts_with("not a message")), "{notes:?}");
}

/// A queue that never answers what is sent to it.
struct Mute(Arc<dyn Queue>);

#[async_trait]
impl Queue for Mute {
    async fn send(&self, _: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        std::future::pending().await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        self.0.receive(max, wait, visibility).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        self.0.extend(receipt, visibility).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.0.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.0.depth().await
    }
}

/// Neither the calls beside such messages nor a worker that is to stop wait for the dead letters' queue.
#[tokio::test(start_paused = true)]
async fn dead_letters_that_nobody_takes_hold_up_nothing() {
    let mut world = World::new();
    world.publish(1, s(1), s(300)).await;
    let dead = &mut world.deps.queues.calls.dead;
    *dead = Arc::new(Mute(dead.clone()));
    for _ in 0..10 {
        world.queues[0].send(vec![Outgoing::new("garbage".to_owned())]).await.expect("sent");
    }
    let worker = world.start("w", 2, &Script::always(answers(Duration::ZERO)));
    tokio::time::sleep(s(1)).await;
    let call = world.call("fine").await;
    assert!(world.end_within(call, s(30)).await.is_some());
    // The messages are back by now.
    tokio::time::sleep(s(35)).await;
    let told = world.elapsed();
    worker.stop().await;
    assert!(world.elapsed() - told < s(15), "it took {:?}", world.elapsed() - told);
}

/// `--drain` ends where only such messages are left, and says so.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_to_end_with_dry_queues_ends_before_what_it_cannot_run() {
    let foreign = origin::stamp(r#"{"v":1,"kind":"call"}"#.to_owned(), StoreId::new(Time(1), 7));
    for (body, why) in [(r#"{"v":99,"kind":"call"}"#, "newer"), (foreign.as_str(), "it is of store")] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        world.queues[1].send(vec![Outgoing::new(body.to_owned())]).await.expect("sent");
        let call = world.call("fine").await;
        let mut config = world.config("w", 1);
        config.until_dry = true;
        let ended = world.run(config, &Script::always(answers(Duration::ZERO))).await;
        let error = ended.expect_err("the queue is not dry");
        assert!(error.message().starts_with("queue `chunks` is not dry: it has 1 "), "{error}");
        assert!(error.message().contains(why), "{error}");
        assert!(world.end(call).await.is_some() && world.elapsed() < s(120), "{:?}", world.elapsed());
        assert_eq!(messages(&world.queues[1]).await, 1);
    }
}

/// The worker supervises a batch that it cannot run. `--drain` hands the supervisor over and ends.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_to_end_with_dry_queues_does_not_wait_for_a_batch_that_it_cannot_run() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let batch = world.batch(10, 0).await;
    let mut config = world.config("w", 1);
    config.until_dry = true;
    let ended = world.run(config, &Script::always(mismatches())).await;
    let error = ended.expect_err("the queue is not dry");
    assert!(error.message().starts_with("queue `chunks` is not dry: it has 1 "), "{error}");
    assert!(world.elapsed() < s(600), "{:?}", world.elapsed());
    assert_eq!(world.over(batch, s(1)).await, None);
    assert_eq!((messages(&world.queues[1]).await, messages(&world.queues[2]).await), (1, 1));
}

/// A worker was lost after it had sent a message anew and before it deleted the old one: two point to one call.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_to_end_with_dry_queues_counts_every_message_that_it_cannot_run() {
    let script = Script::always(mismatches());
    // It learns so before the call is run, or as it is run.
    for suits in [false, true] {
        let world = World::new();
        world.publish(1, s(1), s(300)).await;
        world.call("odd").await;
        let queue = &world.queues[0];
        let mut other: serde_json::Value = serde_json::from_str(&queue.bodies()[0]).expect("a message");
        other["id"] = MessageId::new(Time(1), 7).to_string().into();
        queue.send(vec![Outgoing::new(other.to_string())]).await.expect("sent");
        let mut config = world.config("w", 1);
        config.until_dry = true;
        let ended =
            tokio::time::timeout(s(600), world.run_with(config, suits, &script)).await.expect("it ends");
        let error = ended.expect_err("the queue is not dry");
        assert!(error.message().starts_with("queue `calls` is not dry: it has 2 "), "{error}");
        assert_eq!(messages(queue).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_back_what_its_task_held() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let panics = AtomicU32::new(0);
    let script = Script::new(move |execution: &Execution| {
        if execution.payload.trim() == "bug" && panics.fetch_add(1, Relaxed) < 2 {
            panic!("a bug on purpose");
        }
        answers(Duration::ZERO)
    });
    let _worker = world.start("w", 1, &script);
    let bug = world.call("bug").await;
    let fine = world.call("fine").await;
    assert!(world.end_within(fine, s(30)).await.is_some(), "the slot is free again");
    assert!(world.end_within(bug, s(300)).await.is_some(), "the message came again");
    let said = |event: &Event| matches!(event, Event::TaskPanicked { why, .. } if why == "a bug on purpose");
    assert_eq!(world.said(said), 2);
    let found = panics::recent(&world.deps).await.expect("an answer");
    let told = |panic: &TaskPanic| (panic.worker.clone(), panic.task.clone(), panic.message.clone());
    let expected = ("w".to_owned(), "run of a call".to_owned(), "a bug on purpose".to_owned());
    assert_eq!(found.panics.iter().map(told).collect::<Vec<_>>(), [expected.clone(), expected]);
    assert!(found.panics[0].at > found.panics[1].at, "the newest first");
    tokio::time::sleep(h(25)).await;
    assert_eq!(panics::recent(&world.deps).await.expect("an answer"), RecentPanics::default());
}

#[tokio::test(start_paused = true)]
async fn ten_panics_are_told_and_the_others_counted() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let script = Script::new(|_: &Execution| panic!("a bug on purpose"));
    for _ in 0..5 {
        world.call("bug").await;
        let ended = tokio::time::timeout(h(1), world.run(world.config("w", 1), &script)).await;
        ended.expect("it ends").expect_err("it is a bug");
    }
    let found = panics::recent(&world.deps).await.expect("an answer");
    assert_eq!((found.panics.len(), found.more), (10, 5), "what a worker leaves last is stored too");
}

single_and_batch!(the_third_panic_ends_a_worker);

async fn the_third_panic_ends_a_worker(of: Of) {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    world.one(of).await;
    let script = Script::new(|_: &Execution| panic!("a bug on purpose"));
    let ended = tokio::time::timeout(h(1), world.run(world.config("w", 1), &script)).await;
    let error = ended.expect("it ends").expect_err("it is a bug");
    assert_eq!(error.code(), Code::Internal, "exit code 70");
    assert!(error.message().contains("3 of its tasks panicked"), "{error}");
    assert_eq!(world.said(|event| matches!(event, Event::TaskPanicked { .. })), 3);
}
