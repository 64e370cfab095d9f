//! What upkeep costs, and that watermarks hide nothing that is lost.

use std::time::Duration;

use afn::event::Event;
use afn::layout::{Key, metadata};
use afn::limits;
use afn::model::{CallFacts, CallId, Time};
use afn::seam::store::{List, PutObject};
use afn::seam::{Deps, Queue as _, RngExt as _, Store as _, StoreExt as _};
use afn::worker::upkeep::{self, Options, Report};

use super::script::{Script, answers, h, ms, s};
use super::world::World;

/// A turn of upkeep, and the requests to the store that it took.
async fn turn(world: &World) -> (Report, u64) {
    let before = world.counts.snapshot().store_requests();
    let report = upkeep::on_demand(&world.deps, "w", Options::default()).await.expect("done");
    (report, world.counts.snapshot().store_requests() - before)
}

async fn done_calls(world: &World, calls: usize) {
    let worker = world.start("w", 16, &Script::always(answers(ms(1))));
    let mut last = None;
    for n in 0..calls {
        last = Some(world.call(&n.to_string()).await);
    }
    world.end_within(last.expect("some"), h(1)).await.expect("it ends");
    tokio::time::sleep(s(60)).await;
    worker.drain().await;
}

/// Takes all messages of single calls off their queue, as a purge does.
async fn purge(world: &World) {
    loop {
        let received = world.queues[0].receive(10, Duration::ZERO, s(60)).await.expect("received");
        if received.is_empty() {
            return;
        }
        for message in received {
            world.queues[0].delete(&[message.receipt]).await.expect("deleted");
        }
    }
}

/// Stores the payload of a call of which nobody sends a message.
async fn store_only(deps: &Deps, world: &World, minted_at: Time) -> CallId {
    let call = CallId::single(minted_at, deps.rng.u128());
    let facts = CallFacts {
        function: "f".parse().expect("a name"),
        version: "0.0.1-0123456789ab".parse().expect("a version"),
        route: "/f".parse().expect("a route"),
        created_at: deps.now(),
        not_before: None,
        headers: Default::default(),
        nonce: deps.nonce(),
    };
    let object = PutObject::create("x").metadata(metadata::encode(&facts).expect("it is small"));
    deps.store.put(&Key::Payload(world.app.clone(), call), object).await.expect("stored");
    call
}

fn sent_again(world: &World, call: CallId) -> usize {
    world.said(|event| matches!(event, Event::CallResent { call: sent, .. } if *sent == call))
}

#[tokio::test(start_paused = true)]
async fn a_turn_costs_a_list_for_300_calls_that_are_new_or_open() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    done_calls(&world, 3_000).await;
    tokio::time::sleep(h(1)).await;
    let (_, first) = turn(&world).await;
    assert!(first <= 20 + 3_000 / 300, "{first} requests for 3,000 calls that no turn has looked at");
    let (_, again) = turn(&world).await;
    assert!(again <= 20, "{again} requests when nothing is new");

    // These wait on a long queue.
    for n in 0..600 {
        world.call(&n.to_string()).await;
    }
    tokio::time::sleep(ms(limits::ms(limits::RESEND_AFTER) - 1)).await;
    let (report, young) = turn(&world).await;
    assert_eq!(report.resent, Some(0));
    assert!(young <= 20 + 600 / 300, "{young} requests for 600 open calls");
    println!("upkeep: {first} requests for 3,000 new calls, {again} for none, {young} for 600 open ones");
}

#[tokio::test(start_paused = true)]
async fn deletion_costs_little_and_nothing_where_nothing_is_old() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    done_calls(&world, 3_000).await;
    let worker = world.start("w", 16, &Script::always(answers(ms(1))));
    let mut batches = Vec::new();
    for _ in 0..40 {
        batches.push(world.batch(3, 0).await);
    }
    for batch in &batches {
        world.fired(*batch, h(1)).await.expect("it is over");
    }
    worker.drain().await;
    tokio::time::sleep(h(2)).await;
    turn(&world).await;
    let (_, idle) = turn(&world).await;
    assert!(idle <= 20, "{idle} requests when nothing is old");

    tokio::time::sleep(limits::DELETE_AFTER).await;
    let (report, spent) = turn(&world).await;
    assert_eq!((report.deleted.calls, report.deleted.batches), (3_000, 40));
    // A batch costs a look of the reconciler, and nine requests to tell that it is deleted and to delete it.
    let batches_cost = 40 * (1 + 9);
    assert!(spent <= 20 + 3_000 / 100 + batches_cost, "{spent} requests");
    let (_, after) = turn(&world).await;
    assert!(after <= 20, "{after} requests when all that was old is gone");
    println!(
        "upkeep: {spent} requests delete 3,000 calls and 40 batches, {idle} and {after} without anything old"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_go_in_pages() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    done_calls(&world, 3_000).await;
    tokio::time::sleep(limits::CONTENT_KEPT + h(2)).await;
    let (content, spent) = turn(&world).await;
    tokio::time::sleep(limits::DELETE_AFTER - limits::CONTENT_KEPT).await;
    let (rest, more) = turn(&world).await;
    assert_eq!((content.deleted.calls, rest.deleted.tombstones), (3_000, 3_000));
    let most = 20 + 3_000 / 100;
    assert!(spent <= most && more <= most, "{spent} and {more} requests for 3,000 calls");
    println!("upkeep: {spent} requests delete the content of 3,000 calls, {more} what is left of them");
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_late_under_an_old_id_is_found() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    turn(&world).await;
    // A submitter's clock lags by half an hour, and another's is ahead by a month.
    let now = world.deps.now();
    let lagging = store_only(&world.deps, &world, now.minus_ms(1_800_000)).await;
    let ahead = store_only(&world.deps, &world, now.plus_ms(30 * 24 * 3_600_000)).await;
    // One was stopped for a day between the two.
    let stopped = store_only(&world.deps, &world, now.minus_ms(24 * 3_600_000)).await;
    let mut found = [None; 3];
    for half_hour in 1..=6 * 48 {
        tokio::time::sleep(limits::RECONCILE_EVERY).await;
        turn(&world).await;
        purge(&world).await;
        for (found, call) in found.iter_mut().zip([lagging, ahead, stopped]) {
            if sent_again(&world, call) > 0 {
                found.get_or_insert(half_hour);
            }
        }
    }
    let [lagging, ahead, stopped] = found.map(|found| found.expect("it is sent again"));
    assert!(lagging <= 3 && ahead <= 3, "after {lagging} and {ahead} half hours");
    assert!(stopped <= 2 * 48 + 2, "after {stopped} half hours");
}

#[tokio::test(start_paused = true)]
async fn watermarks_from_a_clock_that_was_set_back_are_not_used() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    turn(&world).await;
    let marks = afn::layout::key::watermarks();
    let stored = world.store.list_all(List::all(marks.as_str())).await.expect("listed").entries;
    assert_eq!(stored.len(), 1, "a turn leaves one");
    let key = stored[0].key.parse().expect("a key");
    let body = world.store.find(&key, u64::MAX).await.expect("read").expect("it is there").body;
    let late = String::from_utf8(body.to_vec()).expect("text");
    let until = late.find("clear_until").expect("a watermark");
    let moved =
        format!("{}clear_until\": \"2028-01-01T00:00:00.000Z\"{}", &late[..until], &late[until..][40..]);
    assert!(moved.contains("2028"), "{moved}");
    world.store.delete(std::slice::from_ref(&key)).await.expect("deleted");
    world.deps.store.put(&key, PutObject::create(moved)).await.expect("written");
    let lost = store_only(&world.deps, &world, world.deps.now()).await;
    tokio::time::sleep(h(1) + s(60)).await;
    turn(&world).await;
    assert_eq!(sent_again(&world, lost), 1);
}

/// It is sent again after an hour, then once an hour, from the second day on once a day.
#[tokio::test(start_paused = true)]
async fn what_is_lost_again_is_sent_again_less_often() {
    let world = World::new();
    world.publish(1, s(1), s(30)).await;
    let lost = store_only(&world.deps, &world, world.deps.now()).await;
    let mut sent = Vec::new();
    for _ in 0..4 * 48 {
        tokio::time::sleep(limits::RECONCILE_EVERY).await;
        turn(&world).await;
        purge(&world).await;
        sent.push(sent_again(&world, lost));
    }
    let by_day: Vec<usize> = [47, 95, 143, 191].iter().map(|at| sent[*at]).collect();
    assert!((22..=24).contains(&by_day[0]), "{by_day:?}");
    assert_eq!([by_day[2] - by_day[1], by_day[3] - by_day[2]], [1, 1], "{by_day:?}");
}
