//! Workers that are killed in the middle of a call: it finishes elsewhere, with one outcome, and a call that kills every
//! worker that runs it comes to an end too.

use afn::layout::object::MarkKind::{Alone, Among, Running, Sole};
use afn::model::State;

use super::world::{SLOW, World};
use super::{bucket, fixtures};

#[tokio::test]
async fn a_call_of_a_killed_worker_finishes_elsewhere() {
    let world = World::with_docker("killed").await;
    world.create_sh("sh", "").await;
    let first = world.worker("-j 2 --visibility 4s").await;
    let slow = world.submit("sh", SLOW, "").await;
    // `running` tells that its mark is written.
    world.until(slow, "running").await;
    world.answer_from_now_on().await;
    first.kill().await;
    assert_eq!(world.containers().await.len(), 1, "nobody has stopped what the lost worker ran");

    let second = world.worker("-j 2").await;
    let call = world.wait(slow).await;
    assert_eq!(call["status"], "success", "{call}");
    // What the lost worker ran is not counted, and its number is used again.
    assert_eq!(world.result(slow).await, b"attempt 1\n");
    let left = bucket::one_outcome(&world, slow).await;
    assert_eq!(left.outcome.attempts, 1);
    assert_eq!(left.started.iter().map(|mark| mark.kind).collect::<Vec<_>>(), [Running, Among]);
    second.said_all(&[&slow.to_string(), "came back from a lost worker"]).await;
    assert!(!second.lines().iter().any(|line| line.contains("runs in quarantine")), "{:#?}", second.lines());
    world.queue_is_dry().await;
    // The next worker on a machine clears up after the lost one.
    fixtures::eventually("its container is gone", async || world.containers().await.is_empty()).await;
}

#[tokio::test]
async fn a_worker_killed_before_any_mark_loses_no_call() {
    let world = World::with_docker("early").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", "echo fine", "").await;
    let first = world.worker("-j 1 --visibility 3s").await;
    first.said_all(&[&call.to_string(), "started"]).await;
    first.kill().await;
    let _second = world.worker("-j 1").await;
    assert_eq!(world.wait(call).await["status"], "success");
    bucket::one_outcome(&world, call).await;
    world.queue_is_dry().await;
}

#[tokio::test]
async fn a_call_that_loses_every_worker_is_ended_and_its_neighbour_lives() {
    let world = World::with_docker("poison").await;
    world.create_sh("sh", "--timeout 100s").await;
    let poison = world.submit("sh", "sleep 100", "").await;
    let neighbour = world.submit("sh", SLOW, "").await;
    // The first worker dies with both, then every one that begins the poison again. The first loss condemns nobody.
    for deliveries in 1..=6 {
        let worker = world.worker("-j 2 --visibility 6s").await;
        fixtures::eventually("the call is marked", async || {
            bucket::marks(&world, poison).await == deliveries
        })
        .await;
        if deliveries == 1 {
            world.until(neighbour, "running").await;
            world.answer_from_now_on().await;
        }
        worker.kill().await;
    }
    let last = world.worker("-j 2").await;
    let ended = world.wait(poison).await;
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&"killed".into(), &"its worker was lost 5 times".into())
    );
    assert_eq!(world.afn(&format!("wait {poison}")).await.code, 1);
    let left = bucket::one_outcome(&world, poison).await;
    assert_eq!(
        (left.outcome.status, left.outcome.attempts),
        (State::Killed, 0),
        "none of its attempts ended"
    );
    let kinds: Vec<_> = left.started.iter().map(|mark| mark.kind).collect();
    assert_eq!(kinds, [Running, Among, Sole, Alone, Alone, Alone]);
    assert_eq!(world.wait(neighbour).await["status"], "success");
    bucket::one_outcome(&world, neighbour).await;
    drop(last);
    world.queue_is_dry().await;
}
