//! Calls that have lost their message are sent again, also beside a queue that is never empty; what merely waits is not.

use std::time::Duration;

use afn::event::Event;
use afn::model::CallId;
use afn::seam::Queue as _;

use super::script::{Script, answers, h, s};
use super::world::{Running, World};

/// A call whose message was taken off its queue, as a purge does.
async fn lost_call(world: &World) -> CallId {
    let lost = world.call("lost").await;
    let received = world.queues[0].receive(10, Duration::ZERO, s(60)).await.expect("received");
    assert_eq!(received.len(), 1);
    world.queues[0].delete(&[received[0].receipt.clone()]).await.expect("deleted");
    lost
}

/// A worker that reconciles.
fn start(world: &World, takes: Duration) -> Running {
    let mut config = world.config("w", 2);
    config.reconcile = true;
    world.start_with(config, |_| true, &Script::always(answers(takes)))
}

fn sent_again(world: &World) -> usize {
    world.said(|event| matches!(event, Event::CallResent { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_beside_a_busy_queue_is_run() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let lost = lost_call(&world).await;
    let _worker = start(&world, s(9));
    // A call each four seconds for two slots of nine: always more than they can do.
    for n in 0..(2 * 3_600 / 4) {
        world.call(&n.to_string()).await;
        tokio::time::sleep(s(4)).await;
    }
    assert!(world.end(lost).await.is_some(), "it has no outcome within two hours");
    assert_eq!(sent_again(&world), 1, "what waits on the queue was sent again");
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_beside_an_empty_queue_is_run() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let lost = lost_call(&world).await;
    let _worker = start(&world, s(9));
    assert!(world.end_within(lost, h(4)).await.is_some());
    assert_eq!(sent_again(&world), 1);
}

/// N11: hours of work wait on the queue. None of it is lost.
#[tokio::test(start_paused = true)]
async fn what_merely_waits_is_not_sent_again() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    for n in 0..2_000 {
        world.call(&n.to_string()).await;
    }
    // The last one waits for 2.8 hours; a lost one would be found by then.
    let _worker = start(&world, s(10));
    tokio::time::sleep(h(3)).await;
    assert_eq!((sent_again(&world), world.executions().len()), (0, 2_000));
}
