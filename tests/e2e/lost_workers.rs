//! Workers that are killed in the middle of a call: it finishes elsewhere, with one outcome, and a call that kills every
//! worker that runs it comes to an end too.

use afn::model::State;

use crate::world::World;
use crate::{bucket, fixtures};

/// Sleeps in its first attempt, and answers in any other.
const SLOW_AT_FIRST: &str = "[ $AFN_ATTEMPT = 1 ] && sleep 100; echo attempt $AFN_ATTEMPT";

#[tokio::test]
async fn a_call_of_a_killed_worker_finishes_elsewhere() {
    let world = World::new("killed").await;
    world.create_sh("sh", "").await;
    let first = world.worker("-j 2 --visibility 4s").await;
    let slow = world.submit("sh", SLOW_AT_FIRST, "").await;
    // `running` tells that its mark is written: whoever comes next knows that there was an attempt.
    world.until(slow, "running").await;
    first.kill().await;
    assert_eq!(world.containers().await.len(), 1, "nobody has stopped what the lost worker ran");

    let second = world.worker("-j 2 --visibility 4s").await;
    let call = world.wait(slow).await;
    assert_eq!(call["status"], "success", "{call}");
    assert_eq!(world.result(slow).await, b"attempt 2\n");
    let left = bucket::one_outcome(&world, slow).await;
    assert_eq!(left.outcome.attempts, 2);
    assert_eq!(
        left.started.iter().map(|mark| (mark.careful, mark.alone)).collect::<Vec<_>>(),
        [(false, false), (true, true)]
    );
    second.said_all(&[&slow.to_string(), "came back from a lost worker", "runs alone"]).await;
    world.queue_is_dry().await;
    // The next worker on a machine clears up after the lost one.
    fixtures::eventually("its container is gone", async || world.containers().await.is_empty()).await;
}

#[tokio::test]
async fn a_worker_killed_before_any_mark_loses_no_call() {
    let world = World::new("early").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", "echo fine", "").await;
    let first = world.worker("-j 1 --visibility 3s").await;
    first.said_all(&[&call.to_string(), "started"]).await;
    first.kill().await;
    let _second = world.worker("-j 1 --visibility 3s").await;
    assert_eq!(world.wait(call).await["status"], "success");
    bucket::one_outcome(&world, call).await;
    world.queue_is_dry().await;
}

#[tokio::test]
async fn a_call_that_loses_every_worker_is_ended_and_its_neighbour_lives() {
    let world = World::new("poison").await;
    world.create_sh("sh", "--timeout 100s").await;
    let poison = world.submit("sh", "sleep 100", "").await;
    let neighbour = world.submit("sh", SLOW_AT_FIRST, "").await;
    // The first worker dies with both, then every one that begins the poison again: three times it was alone.
    for deliveries in 1..=4 {
        let worker = world.worker("-j 2 --visibility 3s").await;
        fixtures::eventually("the call is marked", async || {
            bucket::marks(&world, poison).await == deliveries
        })
        .await;
        if deliveries == 1 {
            world.until(neighbour, "running").await;
        }
        worker.kill().await;
    }
    let last = world.worker("-j 2 --visibility 3s").await;
    let ended = world.wait(poison).await;
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&"killed".into(), &"its worker was lost 3 times".into())
    );
    assert_eq!(world.afn(&format!("wait {poison}")).await.code, 1);
    let left = bucket::one_outcome(&world, poison).await;
    assert_eq!((left.outcome.status, left.outcome.attempts, left.started.len()), (State::Killed, 4, 4));
    assert_eq!(world.wait(neighbour).await["status"], "success");
    bucket::one_outcome(&world, neighbour).await;
    drop(last);
    world.queue_is_dry().await;
}
