//! Idempotency keys: many submissions at once are one message, and one that came to nothing is made good.

use std::sync::Arc;
use std::time::Duration;

use afn::error::Result;
use afn::layout::Key;
use afn::layout::object::{self, MarkKind, Started};
use afn::model::{DeliveryId, MessageId};
use afn::seam::fault::{self, Fate, Fault, FaultQueue, Faults};
use afn::seam::store::{PutObject, Store as _};
use afn::submit::call::{Accepted, Request, submit};
use tokio::task::JoinSet;

use super::calm;
use super::play::stage::Stage;
use super::play::world::Process;

async fn submit_under_key(process: &Process, stage: &Stage, delay: Duration) -> Result<Accepted> {
    let request = Request {
        app: stage.app.clone(),
        route: "/once".parse().expect("a route"),
        payload: "hello".into(),
        content_type: None,
        headers: Default::default(),
        delay,
        idempotency_key: Some("order-7".to_owned()),
    };
    submit(&process.deps, request).await
}

/// A queue that nothing reaches.
struct Down;

impl Faults for Down {
    fn fate(&self, _request: &fault::Request<'_>) -> Fate {
        Fate::of(Fault::Busy)
    }
}

async fn messages(process: &Process) -> u64 {
    let depth = process.deps.queues.calls.live.depth().await.expect("a queue");
    depth.visible + depth.in_flight + depth.delayed
}

#[tokio::test(start_paused = true)]
async fn many_submissions_at_once_are_one_message() {
    let stage = calm::stage().await;
    let mut submitters = JoinSet::new();
    for number in 0..8 {
        let (stage, process) = (stage.clone(), stage.world.process(&format!("submitter {number}")));
        submitters.spawn(async move { submit_under_key(&process, &stage, Duration::ZERO).await });
    }
    let accepted: Vec<Accepted> =
        submitters.join_all().await.into_iter().map(|accepted| accepted.expect("accepted")).collect();
    assert!(accepted.iter().all(|one| one.call == accepted[0].call), "{accepted:?}");
    let observer = stage.world.process("observer");
    assert_eq!(messages(&observer).await, 1);
    assert_eq!(accepted.iter().filter(|one| one.sent).count(), 1);
}

/// The first submitter dies between payload and send: a repetition need not hurry, but it makes that good.
#[tokio::test(start_paused = true)]
async fn a_repetition_sends_what_was_never_sent_once_it_is_old() {
    for delay in [Duration::ZERO, Duration::from_secs(300)] {
        let stage = calm::stage().await;
        let mut dead = stage.world.process("dead");
        let calls = &mut dead.deps.queues.calls.live;
        *calls = Arc::new(FaultQueue::new("calls", calls.clone(), dead.clock.clone(), Arc::new(Down)));
        submit_under_key(&dead, &stage, delay).await.expect_err("nothing can be sent");
        let later = stage.world.process("later");
        let soon = submit_under_key(&later, &stage, delay).await.expect("accepted");
        assert_eq!((soon.repeated, soon.sent, messages(&later).await), (true, false, 0));
        tokio::time::sleep(Duration::from_secs(91) + delay).await;
        let late = submit_under_key(&later, &stage, delay).await.expect("accepted");
        assert_eq!((late.call, late.sent, messages(&later).await), (soon.call, true, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_leaves_alone_what_a_worker_has_begun() {
    let stage = calm::stage().await;
    let process = stage.world.process("submitter");
    let first = submit_under_key(&process, &stage, Duration::ZERO).await.expect("accepted");
    let delivery = DeliveryId { message: MessageId::new(process.deps.now(), 7), delivery: 1 };
    let started = Started {
        at: process.deps.now(),
        kind: MarkKind::Running,
        attempt: 1,
        failures: 0,
        start_failures: 0,
        lease_ms: Some(60_000),
        worker: "worker-1".to_owned(),
    };
    let key = Key::Started(stage.app.clone(), first.call, delivery);
    stage.world.store.put(&key, PutObject::create(object::encode(&started))).await.expect("put");
    tokio::time::sleep(Duration::from_secs(3_000)).await;
    let again = submit_under_key(&process, &stage, Duration::ZERO).await.expect("accepted");
    assert_eq!((again.call, again.repeated, again.sent), (first.call, true, false));
    assert_eq!(messages(&process).await, 1);
}
