//! Content goes when its retention is over; what says that a call or a batch has ended stays, and readers are told.

use afn::catalog::Catalog;
use afn::layout::{Key, Message, key};
use afn::limits;
use afn::model::{App, BatchId, CallId, Retention, State};
use afn::results::rows::{Options, Rows};
use afn::results::{self};
use afn::seam::Queue as _;
use afn::seam::StoreExt as _;
use afn::seam::queue::Outgoing;
use afn::seam::store::List;
use afn::submit::batch::BatchOptions;
use afn::submit::resume::{ResumeRequest, resume};
use afn::submit::retry::retry;
use afn::submit::{cancel_batch, send};

use super::script::{Script, answers, h, ms, s};
use super::world::{Running, World, messages};

/// A worker that does upkeep.
fn start(world: &World) -> Running {
    let mut config = world.config("w", 4);
    config.reconcile = true;
    world.start_with(config, |_| true, &Script::always(answers(ms(10))))
}

async fn left(world: &World, prefix: String) -> Vec<String> {
    let listed = world.store.list_all(List::all(prefix.as_str())).await.expect("listed");
    listed.entries.into_iter().map(|entry| entry.key.replace(&prefix, "")).collect()
}

async fn of_call(world: &World, call: CallId) -> Vec<String> {
    left(world, key::call(&world.app, call)).await
}

async fn of_batch(world: &World, batch: BatchId) -> Vec<String> {
    left(world, key::batch(&world.app, batch)).await
}

const TOMBSTONES: [&str; 3] = ["deleted", "fired", "summary"];

fn kept_for(text: &str) -> BatchOptions {
    BatchOptions { retention: Some(text.parse().expect("a retention")), ..BatchOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_its_own_retention_or_its_apps_or_its_contexts() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    let catalog = Catalog::new(world.deps.clone());
    catalog.set_retention("2h".parse().expect("a retention")).await.expect("set");
    let _worker = start(&world);
    let call = world.call("x").await;
    let [short, own, never] =
        [BatchOptions::default(), kept_for("1d"), kept_for("never")].map(|options| (options, 3));
    let mut batches = Vec::new();
    for (options, calls) in [short, own, never] {
        batches.push(world.batch_of("f", calls, 0, options).await);
    }
    let [short, own, never]: [BatchId; 3] = batches.try_into().expect("three");
    tokio::time::sleep(h(2)).await;
    assert!(of_call(&world, call).await.len() > 1 && of_batch(&world, short).await.len() > 3, "not before");
    tokio::time::sleep(h(2)).await;
    assert_eq!(of_call(&world, call).await, ["status"]);
    assert_eq!(of_batch(&world, short).await, TOMBSTONES);
    assert!(of_batch(&world, own).await.len() > 3);

    // The app says otherwise from now on.
    let change = |app: &mut App| {
        app.retention = Some(Retention::Never);
        Ok(())
    };
    catalog.update_app(&world.app, change).await.expect("changed");
    let later = world.call("y").await;
    tokio::time::sleep(h(22)).await;
    assert_eq!(of_batch(&world, own).await, TOMBSTONES);
    assert!(of_batch(&world, never).await.len() > 3 && of_call(&world, later).await.len() > 1);
}

/// A batch is looked at while it runs, and again after its app's retention was `never` for a while.
#[tokio::test(start_paused = true)]
async fn a_batch_goes_after_its_app_kept_all_for_a_while() {
    let world = World::new();
    world.publish(1, s(1), h(5)).await;
    let catalog = Catalog::new(world.deps.clone());
    let retention = async |text: &str| {
        catalog.set_retention(text.parse().expect("a retention")).await.expect("set");
    };
    retention("1h").await;
    let mut config = world.config("w", 4);
    config.reconcile = true;
    let _worker = world.start_with(config, |_| true, &Script::always(answers(h(3))));
    let batch = world.batch(3, 0).await;
    world.fired(batch, h(4)).await.expect("it is over");
    retention("never").await;
    tokio::time::sleep(h(20)).await;
    assert!(of_batch(&world, batch).await.len() > 3);
    let before = world.counts.snapshot();
    tokio::time::sleep(h(20)).await;
    let lists = world.spent(before).into_iter().find(|(name, _)| *name == "list");
    assert!(lists.is_some_and(|(_, count)| count <= 40 * 8), "it costs lists in each turn: {lists:?}");
    retention("1h").await;
    tokio::time::sleep(h(2)).await;
    assert_eq!(of_batch(&world, batch).await, TOMBSTONES);
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_sooner_than_its_app_says() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    let _worker = start(&world);
    let batch = world.batch_of("f", 3, 0, kept_for("3h")).await;
    let other = world.batch(3, 0).await;
    tokio::time::sleep(h(3)).await;
    assert!(of_batch(&world, batch).await.len() > 3);
    tokio::time::sleep(h(3)).await;
    assert_eq!(of_batch(&world, batch).await, TOMBSTONES);
    assert!(of_batch(&world, other).await.len() > 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_not_run_again_and_readers_are_told() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    let worker = start(&world);
    let (call, batch) = (world.call("x").await, world.batch(3, 0).await);
    tokio::time::sleep(limits::CONTENT_KEPT + h(3)).await;
    let ran = world.executions().len();
    let deps = &world.deps;

    // Late messages.
    let message = Message::Call(send::call_message(deps, &world.app, call));
    world.queues[0].send(vec![Outgoing::new(message.encode())]).await.expect("sent");
    let message =
        Message::Supervise(send::supervise_message(deps, &afn::model::BatchRef::new(&world.app, batch)));
    world.queues[2].send(vec![Outgoing::new(message.encode())]).await.expect("sent");
    tokio::time::sleep(h(1)).await;
    assert_eq!((world.executions().len(), messages(&world.queues[0]).await), (ran, 0));
    assert_eq!(messages(&world.queues[2]).await, 0);
    assert_eq!(of_call(&world, call).await, ["status"]);

    let view = results::call::load(deps, &world.app, call).await.expect("its status is there");
    assert_eq!((view.state, view.payload_bytes), (State::Success, None));
    let error = results::call::result(deps, &view, &mut Vec::new()).await.expect_err("its result is gone");
    assert!(error.message().contains("was deleted: its retention is over"), "{error}");

    let view = results::batch::load(deps, batch).await.expect("its summary is there");
    assert_eq!((view.decided, view.deleted.expect("told").by.as_str()), (3, "w"));
    let says = |error: afn::Error| {
        let told = format!("the calls of batch `{batch}` were deleted on ");
        assert!(error.message().starts_with(&told), "{error}");
        assert!(error.message().ends_with(": its retention of 14days was over"), "{error}");
    };
    says(Rows::open(deps, batch, Options::default()).await.map(drop).expect_err("rows"));
    says(results::call::load(deps, &world.app, batch.call(2)).await.map(drop).expect_err("a call"));
    says(cancel_batch::cancel(deps, batch, "me", "why").await.map(drop).expect_err("cancel"));
    says(resume(deps, ResumeRequest { batch, source: None }, &|_| {}).await.map(drop).expect_err("resume"));
    says(retry(deps, batch, BatchOptions::default(), &|_| {}).await.map(drop).expect_err("retry"));

    // Nothing of it is left when no late message can find it any more.
    tokio::time::sleep(limits::DELETE_AFTER + h(12)).await;
    assert!(of_call(&world, call).await.is_empty());
    assert!(of_batch(&world, batch).await.is_empty());
    assert!(!world.store.exists(&Key::Pointer(batch)).await.expect("the store never fails"));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_deleted_at_once_when_it_is_over() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    let batch = world.batch(3, 0).await;
    let of = afn::model::BatchRef::new(&world.app, batch);
    let delete = async || afn::worker::delete::delete_batch(&world.deps, &of, "me", "by me").await;
    let error = delete().await.expect_err("it is not over");
    assert_eq!(error.code(), afn::Code::Conflict);
    let worker = start(&world);
    world.fired(batch, h(1)).await.expect("it is over");
    worker.drain().await;
    assert_eq!(delete().await.expect("deleted").batches, 1);
    assert_eq!(of_batch(&world, batch).await, TOMBSTONES);
}

#[tokio::test(start_paused = true)]
async fn a_workers_turn_deletes_within_its_requests_and_the_next_one_goes_on() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    let catalog = Catalog::new(world.deps.clone());
    catalog.set_retention("1h".parse().expect("a retention")).await.expect("set");
    let _worker = start(&world);
    let mut batches = Vec::new();
    for _ in 0..200 {
        batches.push(world.batch(1, 0).await);
    }
    for batch in &batches {
        world.fired(*batch, h(1)).await.expect("it is over");
    }
    let mut deleted = vec![0];
    for _ in 0..10 {
        tokio::time::sleep(limits::RECONCILE_EVERY).await;
        let all = left(&world, key::batches(&world.app)).await;
        deleted.push(all.iter().filter(|name| name.ends_with("/deleted")).count());
    }
    assert_eq!(deleted.last(), Some(&200));
    let most = deleted.windows(2).map(|pair| pair[1] - pair[0]).max().expect("some");
    // Each costs seven requests.
    assert!(most < 200 && 7 * most as u64 <= limits::DELETE_REQUESTS_MAX + 7, "{deleted:?}");
}
