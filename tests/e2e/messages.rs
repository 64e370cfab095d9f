//! Messages that a worker cannot work on: newer ones, garbage, functions for other machines.

use afn::catalog::{Catalog, Publish};
use afn::layout::Message;
use afn::model::{Kind, Limits, Source, State, Version};
use afn::seam::queue::Outgoing;

use super::world::{APP, World};
use super::{bucket, fixtures, images};

async fn send(world: &World, body: &str) {
    let live = world.open().await.deps.queues.calls.live;
    for answer in live.send(vec![Outgoing::new(body.to_owned())]).await.expect("a queue") {
        answer.expect("it is sent");
    }
}

#[tokio::test]
async fn a_newer_message_is_put_back_alone() {
    let world = World::with_docker("newer").await;
    world.create_sh("sh", "").await;
    send(&world, r#"{"v":99,"kind":"call","from":"the future"}"#).await;
    let worker = world.worker("-j 1").await;
    worker.said("format 99, which is newer than this afn").await;
    let queues = world.open().await.deps.queues;
    fixtures::eventually("it is put back for a while", async || {
        queues.calls.live.depth().await.expect("a depth").in_flight == 1
    })
    .await;
    // The queue goes on being received.
    let call = world.submit("sh", "echo fine", "").await;
    assert_eq!(world.wait(call).await["status"], "success");
    fixtures::eventually("the newer one alone is there", async || {
        let depth = queues.calls.live.depth().await.expect("a depth");
        (depth.visible, depth.in_flight) == (0, 1)
    })
    .await;
    assert_eq!(queues.calls.dead.depth().await.expect("a depth").visible, 0);
}

#[tokio::test]
async fn a_worker_that_is_to_end_with_a_dry_queue_ends_before_a_newer_message() {
    let world = World::with_docker("newerdry").await;
    send(&world, r#"{"v":99,"kind":"call","from":"the future"}"#).await;
    let ended = world.afn("worker --drain -j 1").await.failed(2);
    assert!(ended.contains("error: queue `calls` is not dry: ") && ended.contains("hint: "), "{ended}");
}

#[tokio::test]
async fn garbage_is_a_dead_letter_that_can_be_seen_and_thrown_away() {
    let world = World::with_docker("garbage").await;
    world.create_sh("sh", "").await;
    send(&world, "garbage").await;
    let call = world.submit("sh", "echo fine", "").await;
    let worker = world.worker("-j 1").await;
    worker.said("went to the dead letters").await;
    assert_eq!(world.wait(call).await["status"], "success", "garbage holds nobody up");
    world.queue_is_dry().await;

    let listed = world.afn("dlq list -o json").await.json();
    let letter = &listed["letters"][0];
    assert_eq!((&letter["body"], &letter["queue"]), (&"garbage".into(), &"calls".into()), "{listed}");
    assert!(letter["why"].as_str().is_some_and(|why| why.starts_with("not a message: ")), "{listed}");
    let id = letter["id"].as_str().expect("an id");
    assert_eq!(world.afn(&format!("dlq show {id}")).await.json()["body"], "garbage");
    let kept = world.afn(&format!("dlq redrive {id}")).await;
    assert_eq!((kept.code, kept.stdout.as_str()), (2, "0 dead letters put back\n"), "{kept:?}");
    assert!(kept.stderr.contains("1 dead letter cannot be put back"), "{kept:?}");
    world.afn(&format!("dlq purge {id}")).await.ok();
    let listed = world.afn("dlq list -o json").await.json();
    assert_eq!(listed["letters"].as_array().map(Vec::len), Some(0), "{listed}");
}

#[tokio::test]
async fn a_call_among_the_dead_letters_runs_when_it_is_put_back() {
    let world = World::with_docker("redrive").await;
    world.create_sh("sh", "").await;
    let call = world.submit("sh", "echo back again", "").await;
    // As SQS does with a message that came back too often.
    let calls = world.open().await.deps.queues.calls;
    let minute = std::time::Duration::from_secs(60);
    let received = calls.live.receive(1, minute / 6, minute).await.expect("a queue");
    let [message] = &received[..] else { panic!("{received:?}") };
    calls.dead.send(vec![Outgoing::new(message.body.clone())]).await.expect("a queue");
    calls.live.delete(std::slice::from_ref(&message.receipt)).await.expect("a queue");
    let Ok(Message::Call(pointer)) = Message::decode(&message.body) else { panic!("{message:?}") };
    assert_eq!(pointer.call, call);

    let status = world.status(call).await;
    assert!(status["why"].as_str().is_some_and(|why| why.contains("dead letters: 1")), "{status}");
    let listed = world.afn("dlq list -o json").await.json();
    assert_eq!(listed["letters"][0]["call_id"], call.to_string(), "{listed}");
    world.afn("dlq redrive --all").await.ok();
    let _worker = world.worker("-j 1").await;
    assert_eq!(world.wait(call).await["status"], "success");
    bucket::one_outcome(&world, call).await;
}

#[tokio::test]
async fn a_function_for_another_architecture_is_put_back_and_status_says_so() {
    let world = World::with_docker("mismatch").await;
    world.create_sh("sh", "").await;
    let deps = world.open().await.deps;
    // As a deploy from a machine of that kind leaves it.
    let source = Source::Image { reference: images::busybox().await.to_owned(), digest: None };
    let version = Version {
        os: Some("linux".to_owned()),
        arch: Some("s390x".to_owned()),
        ..Version::new("0.0.1", source, Limits::default(), deps.now()).expect("a version")
    };
    let publish = Publish {
        name: "foreign".parse().expect("a name"),
        route: "/foreign".parse().expect("a route"),
        kind: Kind::Async,
        config: None,
        annotations: Default::default(),
        version,
    };
    Catalog::new(deps).publish(&world.app(), publish).await.expect("it is published");

    let worker = world.worker("-j 1").await;
    let foreign = world.submit("foreign", "", "").await;
    worker.said_all(&[&foreign.to_string(), "cannot run on this worker"]).await;
    let call = world.submit("sh", "echo fine", "").await;
    assert_eq!(world.wait(call).await["status"], "success", "the worker goes on with others");
    let status = world.status(foreign).await;
    assert_eq!(status["status"], "queued");
    let why = status["why"].as_str().expect("a reason");
    assert!(why.starts_with("no worker seen that can run it: ") && why.contains("linux/s390x"), "{why}");
    let shown = world.afn(&format!("status {APP} {foreign}")).await.ok();
    assert!(shown.contains("linux/s390x"), "{shown}");
    world.afn(&format!("cancel {foreign}")).await.ok();
    assert_eq!(bucket::one_outcome(&world, foreign).await.outcome.status, State::Cancelled);
}
