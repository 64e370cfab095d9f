//! Store and queues that are unreachable for a while, and answers that are lost after what they tell of was done.

use std::time::Duration;

use super::proxy::{Cut, Proxy};
use super::world::{APP, SLOW, World};
use super::{bucket, fixtures, harness};

/// Commands reach LocalStack, workers through the proxy.
async fn world(what: &str) -> (World, Proxy) {
    (World::with_docker(what).await, Proxy::before(&harness::endpoint()).await)
}

#[tokio::test]
async fn a_call_outlives_an_outage_that_is_longer_than_its_lease() {
    let (world, proxy) = world("outage").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", "echo begun >&2; sleep 2; echo done", "").await;
    let worker = world.worker_through(&proxy, "-j 2 --visibility 3s").await;
    worker.said_all(&[&call.to_string(), "started"]).await;
    fixtures::eventually("it runs", async || !world.containers().await.is_empty()).await;
    proxy.cut(Cut::All);
    fixtures::eventually("it has ended", async || world.containers().await.is_empty()).await;
    let calls = world.open().await.deps.queues.calls.live;
    fixtures::eventually("its lease has lapsed", async || calls.depth().await.expect("a depth").visible == 1)
        .await;
    assert_eq!(world.status(call).await["completed_at"], serde_json::Value::Null);
    proxy.mend();
    let ended = world.wait(call).await;
    assert_eq!((&ended["status"], &ended["attempts"]), (&"success".into(), &1.into()), "{ended}");
    assert_eq!(world.result(call).await, b"done\n");
    bucket::one_outcome(&world, call).await;
    // The worker goes on as if nothing had been.
    let next = world.submit("sh", "echo next", "").await;
    assert_eq!(world.wait(next).await["status"], "success");
    world.queue_is_dry().await;
}

#[tokio::test]
async fn an_outage_while_nothing_runs_is_over_when_it_is_over() {
    let (world, proxy) = world("idle").await;
    world.create_sh("sh", "").await;
    let _worker = world.worker_through(&proxy, "-j 1 --visibility 3s").await;
    proxy.cut(Cut::All);
    let call = world.submit("sh", "echo fine", "").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.mend();
    assert_eq!(world.wait(call).await["status"], "success");
    bucket::one_outcome(&world, call).await;
}

#[tokio::test]
async fn a_call_finishes_while_the_queues_are_away() {
    let (world, proxy) = world("queues").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", "sleep 2; echo done", "").await;
    let worker = world.worker_through(&proxy, "-j 2 --visibility 3s").await;
    worker.said_all(&[&call.to_string(), "started"]).await;
    proxy.cut(Cut::Queues);
    assert_eq!(world.wait(call).await["status"], "success", "the store alone decides");
    let calls = world.open().await.deps.queues.calls.live;
    assert!(!calls.depth().await.expect("a depth").is_dry());
    proxy.mend();
    world.queue_is_dry().await;
    assert_eq!(bucket::one_outcome(&world, call).await.outcome.attempts, 1);
}

#[tokio::test]
async fn a_message_that_comes_while_the_store_is_away_is_not_lost() {
    let (world, proxy) = world("store").await;
    world.create_sh("sh", "").await;
    let worker = world.worker_through(&proxy, "-j 1 --visibility 10s").await;
    // It knows which store it serves, or it would receive nothing.
    let first = world.submit("sh", "echo first", "").await;
    assert_eq!(world.wait(first).await["status"], "success");
    world.queue_is_dry().await;
    proxy.cut(Cut::Store);
    let call = world.submit("sh", "echo done", "").await;
    let calls = world.open().await.deps.queues.calls.live;
    fixtures::eventually("the worker has it", async || calls.depth().await.expect("a depth").in_flight == 1)
        .await;
    // Longer than its lease, which the worker keeps meanwhile.
    tokio::time::sleep(Duration::from_secs(12)).await;
    proxy.mend();
    assert_eq!(world.wait(call).await["status"], "success");
    bucket::one_outcome(&world, call).await;
    assert!(!worker.lines().iter().any(|line| line.contains("came back")), "{:#?}", worker.lines());
    world.queue_is_dry().await;
}

/// A worker that cannot ask which store it serves leaves the messages to those who can.
#[tokio::test]
async fn a_worker_that_starts_while_the_store_is_away_takes_no_message() {
    let (world, proxy) = world("start").await;
    world.create_sh("sh", "").await;
    proxy.cut(Cut::Store);
    let worker = world.worker_through(&proxy, "-j 1 --visibility 10s").await;
    let call = world.submit("sh", "echo done", "").await;
    worker.said_all(&["read the object `store`, the id of the store"]).await;
    let depth = world.open().await.deps.queues.calls.live.depth().await.expect("a depth");
    assert_eq!((depth.visible, depth.in_flight), (1, 0));
    proxy.mend();
    assert_eq!(world.wait(call).await["status"], "success");
    bucket::one_outcome(&world, call).await;
    assert!(!worker.lines().iter().any(|line| line.contains("came back")), "{:#?}", worker.lines());
}

#[tokio::test]
async fn answers_lost_to_a_worker_change_no_outcome() {
    let (world, proxy) = world("worker").await;
    world.create_sh("sh", "").await;
    let losses = [
        "ReceiveMessage",
        "GET /payload",
        "PUT /started/",
        "PUT /result/",
        "PUT /log/",
        "PUT /status",
        "DeleteMessageBatch",
        "ChangeMessageVisibility",
    ];
    for loss in losses {
        proxy.lose_answers(loss, 1);
    }
    let mut calls = Vec::new();
    for script in ["echo one; echo to the log >&2", "sleep 6; echo two; echo to the log >&2"] {
        calls.push(world.submit("sh", script, "").await);
    }
    let worker = world.worker_through(&proxy, "-j 2 --visibility 10s").await;
    for call in calls {
        assert_eq!(world.wait(call).await["status"], "success");
        let left = bucket::one_outcome(&world, call).await;
        assert_eq!(left.outcome.attempts, 1, "{:?}", left.outcome);
        assert_eq!(world.logs(call).await, "to the log\n");
    }
    world.queue_is_dry().await;
    let lost = proxy.lost(losses.len()).await;
    assert_eq!(lost.len(), losses.len(), "{lost:?}");
    // A worker knows its own outcome again when it did not hear that it was written.
    let adopted: Vec<_> = worker.lines().into_iter().filter(|line| line.contains("somebody else")).collect();
    assert_eq!(adopted, Vec::<String>::new());
}

#[tokio::test]
async fn a_hand_over_of_which_the_answer_is_lost_makes_two_messages_and_one_outcome() {
    let (world, proxy) = world("twice").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", SLOW, "").await;
    let mut first = world.worker_through(&proxy, "-j 1 --grace 1s").await;
    first.said_all(&[&call.to_string(), "started"]).await;
    world.answer_from_now_on().await;
    proxy.lose_answers("SendMessageBatch", 1);
    first.terminate();
    proxy.lost(1).await;
    assert_eq!(first.ended().await, 0, "{:#?}", first.lines());
    let drained = world.afn("worker --drain -j 1").await;
    assert_eq!(drained.code, 0, "{drained:?}");
    assert_eq!(world.result(call).await, b"attempt 1\n");
    bucket::one_outcome(&world, call).await;
    world.queue_is_dry().await;
}

#[tokio::test]
async fn answers_lost_to_a_command_are_settled_by_it() {
    let (mut world, proxy) = world("command").await;
    world.set_endpoint(proxy.endpoint());
    let losses = ["PUT /app", "PUT /versions/", "PUT /routes/", "PUT /current"];
    for loss in losses {
        proxy.lose_answers(loss, 1);
    }
    world.create_sh("sh", "").await;
    assert_eq!(proxy.lost(losses.len()).await.len(), losses.len());
    for loss in ["PUT /keys/", "PUT /payload", "SendMessageBatch"] {
        proxy.lose_answers(loss, 1);
    }
    let call = world.submit("sh", "echo once", "--idempotency-key k").await;
    proxy.lost(losses.len() + 3).await;
    let drained = world.afn("worker --drain -j 1").await;
    assert_eq!(drained.code, 0, "{drained:?}");
    assert_eq!(world.result(call).await, b"once\n");
    assert_eq!(bucket::one_outcome(&world, call).await.outcome.attempts, 1);
    let listed = world.afn(&format!("list calls {APP} -o json")).await.json();
    assert_eq!(listed["calls"].as_array().map(Vec::len), Some(1), "{listed}");

    // A cancel of which the answer is lost was one's own.
    let queued = world.submit("sh", "true", "").await;
    proxy.lose_answers("PUT /status", 1);
    assert_eq!(world.afn(&format!("cancel {queued}")).await.ok(), format!("{queued} cancelled\n"));
    bucket::one_outcome(&world, queued).await;
}

#[tokio::test]
async fn a_command_waits_out_a_short_outage_and_gives_up_on_a_long_one() {
    let (mut world, proxy) = world("unreachable").await;
    world.create_sh("sh", "").await;
    world.set_endpoint(proxy.endpoint());
    proxy.cut(Cut::All);
    let (call, ()) = tokio::join!(world.submit("sh", "true", ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.mend();
    });
    assert_eq!(world.status(call).await["status"], "queued");
    proxy.cut(Cut::All);
    let given_up = world.afn(&format!("get call {APP} {call}")).await.failed(5);
    assert!(given_up.contains("gave up after 12 tries") && given_up.contains("hint: "), "{given_up}");
}
