//! Workers that are told to end: what runs may finish, the rest is somebody else's within a second.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket;
use super::world::{SLOW, World};

/// Longer than a receive of a worker waits, on a busy machine too.
const LONG_POLL: Duration = Duration::from_secs(5);
/// What is handed back is there at once; the lease of a lost worker lapses after a minute.
const BEFORE_THE_LEASE_LAPSES: Duration = Duration::from_secs(40);

#[tokio::test]
async fn what_finishes_within_the_grace_is_finished() {
    let world = World::with_docker("grace").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", "sleep 6; echo done", "").await;
    let waiting = world.submit("sh", "echo not here", "").await;
    let mut worker = world.worker("-j 1").await;
    worker.said_all(&[&call.to_string(), "started"]).await;
    worker.terminate();
    worker.said("drains: 1 call still running").await;
    assert_eq!(worker.ended().await, 0, "{:#?}", worker.lines());
    worker.said("stopped: 1 message finished").await;
    assert_eq!(world.result(call).await, b"done\n");
    bucket::one_outcome(&world, call).await;
    assert_eq!(world.status(waiting).await["status"], "queued", "a draining worker begins nothing");
    let drained = world.afn("worker --drain -j 1").await;
    assert_eq!(drained.code, 0, "{drained:?}");
    assert_eq!(world.result(waiting).await, b"not here\n");
}

#[tokio::test]
async fn what_does_not_finish_runs_elsewhere_within_a_second() {
    let world = World::with_docker("handback").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", SLOW, "").await;
    let mut first = world.worker("-j 1 --grace 1s").await;
    first.said_all(&[&call.to_string(), "started"]).await;
    let second = world.worker("-j 1").await;
    world.answer_from_now_on().await;
    first.terminate();
    let code = first.ended().await;
    let ended = Instant::now();
    assert_eq!(code, 0, "{:#?}", first.lines());
    first.said("0 messages finished, 1 returned to the queue").await;
    // A message of its own, at once.
    second.said_all(&[&call.to_string(), "started"]).await;
    assert!(ended.elapsed() < BEFORE_THE_LEASE_LAPSES, "{:?}", ended.elapsed());
    assert_eq!(world.wait(call).await["status"], "success");
    assert_eq!(world.result(call).await, b"attempt 1\n");
    assert_eq!(bucket::one_outcome(&world, call).await.outcome.attempts, 1);
    world.queue_is_dry().await;
}

#[tokio::test]
async fn a_second_signal_hands_back_at_once() {
    let world = World::with_docker("now").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", SLOW, "").await;
    let mut first = world.worker("-j 1 --grace 5m").await;
    first.said_all(&[&call.to_string(), "started"]).await;
    first.terminate();
    first.said("drains: 1 call still running").await;
    world.answer_from_now_on().await;
    first.terminate();
    assert_eq!(first.ended().await, 6, "{:#?}", first.lines());
    assert!(world.containers().await.is_empty());
    let drained = world.afn("worker --drain -j 1").await;
    assert_eq!(drained.code, 0, "{drained:?}");
    assert_eq!(world.result(call).await, b"attempt 1\n");
    bucket::one_outcome(&world, call).await;
}

#[tokio::test]
async fn a_worker_that_is_gone_takes_no_message_along() {
    let world = World::with_docker("gone").await;
    world.create_sh("sh", "").await;
    for killed in [false, true] {
        let mut idle = world.worker("-j 4").await;
        if killed {
            idle.kill().await;
        } else {
            idle.terminate();
            assert_eq!(idle.ended().await, 0, "{:#?}", idle.lines());
        }
        // What stands in for SQS here forgets nobody who waits for a message sooner than he said he would.
        tokio::time::sleep(LONG_POLL).await;
        let call = world.submit("sh", "echo fine", "").await;
        let drained = world.afn("worker --drain -j 1").await;
        assert!(drained.code == 0 && drained.stderr.contains("1 message finished"), "{drained:?}");
        assert!(!drained.stderr.contains("came back"), "{drained:?}");
        assert_eq!(world.result(call).await, b"fine\n");
    }
}
