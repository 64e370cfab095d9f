//! What is lost, doubled or late on the queue does no harm: two messages of one id, an extension that hangs, a message that
//! is put back again and again after some of its calls have left it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use afn::event::Event;
use afn::executor::scripted::Act;
use afn::layout::Key;
use afn::layout::part::RowResult;
use afn::limits;
use afn::model::Digest;
use afn::seam::queue::{Depth, Outgoing, QueueError, Receipt, Received};
use afn::seam::store::ByteRange;
use afn::seam::{Queue, Store as _};
use async_trait::async_trait;

use super::script::{Execution, Script, answers, h, s};
use super::world::World;

/// A send whose answer is lost makes two messages of one id. Two workers then run attempts of one name, with results that
/// differ: each row names what is stored.
#[tokio::test(start_paused = true)]
async fn two_messages_of_one_id_leave_rows_that_are_true() {
    let world = World::new();
    world.publish(1, s(1), s(300)).await;
    let batch = world.batch(3, 3).await;
    let [message] = &world.queues[1].bodies()[..] else { panic!("one message for one chunk") };
    world.queues[1].send(vec![Outgoing::new(message.clone())]).await.expect("sent");
    let script = Script::new(|execution: &Execution| {
        let body = execution.worker.repeat(2 * limits::RESULT_INLINE_BYTES_MAX as usize);
        // What `b` stores first, `a` would record first.
        Act::answer(body).takes(match (&*execution.worker, execution.number) {
            ("a", _) => s(3),
            (_, 3) => s(10),
            _ => s(1),
        })
    });
    let _workers = [world.start("a", 3, &script), world.start("b", 3, &script)];
    world.over(batch, h(4)).await.expect("over");
    for row in world.rows(batch).await {
        let RowResult::Stored { attempt, bytes, sha256 } = row.result else {
            panic!("no object for a large result")
        };
        let key = Key::BatchResult(world.app.clone(), batch, row.number, attempt);
        let stored = world.store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("its result");
        assert_eq!(
            (stored.body.len() as u64, Digest::of(&stored.body)),
            (bytes, sha256),
            "call {}",
            row.number
        );
    }
}

/// The first extension of a lease takes a minute.
struct SlowOnce {
    inner: Arc<dyn Queue>,
    was_slow: AtomicBool,
}

#[async_trait]
impl Queue for SlowOnce {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.inner.send(messages).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Received>, QueueError> {
        self.inner.receive(max, wait, visibility).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<(), QueueError> {
        if !self.was_slow.swap(true, Relaxed) {
            tokio::time::sleep(limits::REQUEST_MAX).await;
        }
        self.inner.extend(receipt, visibility).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        self.inner.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.inner.depth().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_hangs_delays_no_other() {
    let mut world = World::new();
    world.publish(1, s(1), h(1)).await;
    let live = &mut world.deps.queues.calls.live;
    *live = Arc::new(SlowOnce { inner: live.clone(), was_slow: AtomicBool::new(false) });
    let script = Script::always(answers(s(600)));
    let _worker = world.start("w", 8, &script);
    let mut calls = Vec::new();
    for n in 0..8 {
        calls.push(world.call(&n.to_string()).await);
    }
    tokio::time::sleep(s(1)).await;
    let _idle = world.start("idle", 8, &script);
    for call in calls {
        world.end_within(call, h(1)).await.expect("decided");
    }
    let again = world.said(|event| matches!(event, Event::CallRedelivered { .. }));
    assert!(again <= 1, "{again} calls came again, though their worker lived");
}

/// Half of a range is given away. Its worker dies, and none that suits is there for long: the message is put back past its
/// put-backs, and then sent anew.
#[tokio::test(start_paused = true)]
async fn what_left_a_message_does_not_come_back_when_it_is_sent_anew() {
    let world = World::new();
    world.publish(1, s(1), h(5)).await;
    let script = Script::always(answers(h(1)));
    let first = world.start("first", 1, &script);
    let batch = world.batch(4, 4).await;
    tokio::time::sleep(s(10)).await;
    // Three calls have left the first range; these workers run them.
    let others: Vec<_> = (0..3).map(|n| world.start(&format!("w{n}"), 1, &script)).collect();
    tokio::time::sleep(s(60)).await;
    first.kill().await;
    let _unsuited: Vec<_> = (0..40).map(|n| world.start_unsuited(&format!("u{n}"), 1)).collect();
    tokio::time::sleep(s(1_800)).await;
    let _late: Vec<_> = (0..4).map(|n| world.start(&format!("late{n}"), 1, &script)).collect();
    world.over(batch, h(20)).await.expect("over");
    for other in others {
        other.drain().await;
    }
    let executions: Vec<usize> = (1..=4).map(|number| world.attempts(batch.call(number)).len()).collect();
    assert_eq!(executions, [2, 1, 1, 1]);
}
