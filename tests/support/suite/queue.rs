//! The contract of `Queue`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use afn::limits;
use afn::seam::queue::{Depth, Outgoing, QueueError, Receipt, Received};
use afn::seam::{Clock, Queue};
use futures_util::future::{join, join_all};

/// An empty queue to be examined, and what it may do its own way.
pub struct QueueStand {
    pub queue: Arc<dyn Queue>,
    pub clock: Arc<dyn Clock>,
    /// The shortest lease and delay that it can tell from none.
    pub tick: Duration,
    /// How much later than promised the queue itself may do something.
    pub slack: Duration,
    /// How much later all may happen on a busy machine: nothing under virtual time, else shorter than a long poll.
    pub busy: Duration,
    /// Whether the receipt of an earlier delivery acts on the message under its new holder; else it is told apart.
    pub old_receipts_act: bool,
    /// Whether extending a lease that has lapsed hides a message that nobody received since; else it may be answered
    /// either way, and the message comes all the same.
    pub lapsed_leases_come_back: bool,
    /// Whatever the queue lives in, kept as long as it is used.
    pub keep: Box<dyn Send + Sync>,
}

/// The most that a busy machine may add, where time is real.
pub const BUSY: Duration = Duration::from_secs(15);
/// A lease that no test outlives.
const LONG: Duration = limits::VISIBILITY;
const NONE: Duration = Duration::ZERO;

impl QueueStand {
    async fn send(&self, body: &str) {
        self.send_all(vec![Outgoing::new(body.to_owned())]).await;
    }

    async fn send_all(&self, messages: Vec<Outgoing>) {
        let count = messages.len();
        let answers = self.queue.send(messages).await.expect("send");
        assert_eq!(answers, vec![Ok(()); count]);
    }

    async fn receive(&self, visibility: Duration) -> Vec<Received> {
        self.queue.receive(limits::QUEUE_BATCH_MAX, NONE, visibility).await.expect("receive")
    }

    /// How much later than promised something may be seen here.
    fn late(&self) -> Duration {
        self.slack + self.busy
    }

    /// One message, awaited up to `wait` on an idle machine: a receive may end sooner.
    async fn one(&self, wait: Duration, visibility: Duration) -> Received {
        let wait = wait + self.busy;
        let started = self.clock.monotonic();
        loop {
            let left = wait.saturating_sub(self.clock.monotonic() - started);
            let mut messages = self.queue.receive(1, left, visibility).await.expect("receive");
            assert!(messages.len() <= 1, "one was asked for");
            if let Some(message) = messages.pop() {
                return message;
            }
            assert!(left > NONE, "no message within {wait:?}");
        }
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let mut answers = self.queue.delete(std::slice::from_ref(receipt)).await.expect("delete");
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    async fn depth(&self) -> (u64, u64, u64) {
        let Depth { visible, in_flight, delayed } = self.queue.depth().await.expect("depth");
        (visible, in_flight, delayed)
    }

    /// Runs and tells how long it took.
    async fn timed<T>(&self, what: impl Future<Output = T>) -> (T, Duration) {
        let started = self.clock.monotonic();
        let value = what.await;
        (value, self.clock.monotonic() - started)
    }
}

/// One test for each function below: the attribute it gets, and the expression that makes its stand, which may await.
macro_rules! queue_suite {
    ([$($attribute:tt)*], $open:expr) => {
        queue_suite!(@ [$($attribute)*] $open;
            a_message_comes_once_and_goes,
            ten_are_sent_at_once_and_eleven_refused,
            entries_of_a_send_stand_for_themselves,
            the_largest_message_passes,
            a_delayed_message_waits,
            a_lapsed_lease_brings_the_message_back,
            an_extended_lease_lasts,
            a_lease_extended_to_zero_ends,
            a_lapsed_lease_can_be_taken_back,
            an_old_receipt_does_as_it_is_said_to,
            a_deleted_message_is_gone,
            what_is_no_receipt_is_an_error,
            an_empty_long_poll_ends_when_it_should,
            a_long_poll_wakes_on_a_send,
            a_long_poll_wakes_when_a_lease_lapses,
            a_long_poll_wakes_when_a_message_is_given_back,
            receivers_do_not_share_a_message,
            depth_tells_where_messages_are,
            metadata_travels_and_groups_do_not_hold_up
        );
    };
    (@ $attributes:tt $open:expr; $($name:ident),+) => {
        $(queue_suite!(@@ $attributes $open; $name);)+
    };
    (@@ [$($attribute:tt)*] $open:expr; $name:ident) => {
        #[$($attribute)*]
        async fn $name() {
            let stand = $open;
            $crate::support::suite::queue::$name(&stand).await;
            // What it lives in goes last.
            drop((stand.queue, stand.keep));
        }
    };
}

pub async fn a_message_comes_once_and_goes(stand: &QueueStand) {
    let before = stand.clock.now();
    // No object: into one a context's queue writes the id of its store.
    stand.send("[\"täxt\",\"✓\"]").await;
    let message = stand.one(stand.slack, LONG).await;
    assert_eq!((message.body.as_str(), message.delivery, message.metadata), ("[\"täxt\",\"✓\"]", 1, None));
    // The queue's clock and ours may be a little apart.
    assert!(message.sent_at.0.abs_diff(before.0) < 60_000, "sent at {}", message.sent_at);
    assert!(stand.receive(LONG).await.is_empty(), "a leased message is hidden");
    assert_eq!(stand.delete(&message.receipt).await, Ok(()));
    assert_eq!(stand.depth().await, (0, 0, 0));
    assert_eq!(stand.delete(&message.receipt).await, Ok(()), "deleting twice is no error");
}

pub async fn ten_are_sent_at_once_and_eleven_refused(stand: &QueueStand) {
    let messages = |count: usize| (0..count).map(|n| Outgoing::new(n.to_string())).collect::<Vec<_>>();
    let refused = stand.queue.send(messages(11)).await;
    assert!(matches!(refused, Err(QueueError::Refused(_))), "{refused:?}");
    stand.send_all(messages(10)).await;
    let mut bodies = BTreeSet::new();
    while bodies.len() < 10 {
        let received = stand.queue.receive(10, stand.late(), LONG).await.unwrap();
        assert!(!received.is_empty(), "only {bodies:?} arrived");
        let receipts: Vec<Receipt> = received.iter().map(|message| message.receipt.clone()).collect();
        bodies.extend(received.into_iter().map(|message| message.body));
        assert_eq!(stand.queue.delete(&receipts).await.unwrap(), vec![Ok(()); receipts.len()]);
    }
    assert_eq!(bodies, (0..10).map(|n| n.to_string()).collect());
    assert_eq!(stand.depth().await, (0, 0, 0));
}

pub async fn entries_of_a_send_stand_for_themselves(stand: &QueueStand) {
    let too_late = limits::DELAY_MAX + Duration::from_secs(1);
    let messages = vec![
        Outgoing::new("first".to_owned()),
        Outgoing::new(String::new()),
        Outgoing { delay: too_late, ..Outgoing::new("late".to_owned()) },
        Outgoing::new("last".to_owned()),
    ];
    let answers = stand.queue.send(messages).await.unwrap();
    let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, false, true]);
    let bodies = [stand.one(stand.slack, LONG).await.body, stand.one(stand.slack, LONG).await.body];
    assert_eq!(BTreeSet::from(bodies), BTreeSet::from(["first".to_owned(), "last".to_owned()]));
    assert!(stand.receive(LONG).await.is_empty());
}

pub async fn the_largest_message_passes(stand: &QueueStand) {
    let body = "m".repeat(limits::MESSAGE_BYTES_MAX);
    stand.send(&body).await;
    assert!(stand.one(stand.slack, LONG).await.body == body);
    let answers = stand.queue.send(vec![Outgoing::new(body + "m")]).await.unwrap();
    assert!(matches!(answers[..], [Err(QueueError::Refused(_))]));
}

pub async fn a_delayed_message_waits(stand: &QueueStand) {
    let delay = stand.tick * 2;
    let delayed = Outgoing { delay, ..Outgoing::new("later".to_owned()) };
    stand.send_all(vec![delayed, Outgoing::new("now".to_owned())]).await;
    assert_eq!(stand.one(stand.slack, LONG).await.body, "now");
    let (message, took) = stand.timed(stand.one(delay + stand.slack, LONG)).await;
    assert_eq!((message.body.as_str(), message.delivery), ("later", 1));
    assert!(took + stand.slack >= delay && took <= delay + stand.late(), "came after {took:?}");
}

pub async fn a_lapsed_lease_brings_the_message_back(stand: &QueueStand) {
    stand.send("work").await;
    let first = stand.one(stand.slack, stand.tick).await;
    let second = stand.one(stand.tick + stand.slack, LONG).await;
    assert_eq!((&second.id, &second.body), (&first.id, &first.body));
    assert_eq!((first.delivery, second.delivery), (1, 2));
    assert_ne!(second.receipt, first.receipt);
    assert_eq!(second.sent_at, first.sent_at);
}

pub async fn an_extended_lease_lasts(stand: &QueueStand) {
    let lease = stand.tick * 2 + stand.slack + stand.busy / 3;
    stand.send("work").await;
    let message = stand.one(stand.slack, lease).await;
    for _ in 0..3 {
        stand.clock.sleep(stand.tick * 2).await;
        stand.queue.extend(&message.receipt, lease).await.unwrap();
        assert!(stand.receive(LONG).await.is_empty());
    }
    let again = stand.one(lease + stand.slack, LONG).await;
    assert_eq!(again.delivery, 2, "the last extension ends too");
}

pub async fn a_lease_extended_to_zero_ends(stand: &QueueStand) {
    stand.send("work").await;
    let message = stand.one(stand.slack, LONG).await;
    stand.queue.extend(&message.receipt, NONE).await.unwrap();
    assert_eq!(stand.one(stand.slack, LONG).await.delivery, 2);
}

pub async fn a_lapsed_lease_can_be_taken_back(stand: &QueueStand) {
    stand.send("work").await;
    let message = stand.one(stand.slack, stand.tick).await;
    stand.clock.sleep(stand.tick + stand.slack).await;
    let extended = stand.queue.extend(&message.receipt, LONG).await;
    if stand.lapsed_leases_come_back {
        assert_eq!(extended, Ok(()));
        assert!(stand.receive(LONG).await.is_empty(), "nobody had received it, so it is ours again");
    } else {
        assert!(matches!(extended, Ok(()) | Err(QueueError::Gone)), "{extended:?}");
        assert_eq!(stand.one(stand.slack, LONG).await.delivery, 2);
    }
    assert_eq!(stand.delete(&message.receipt).await, Ok(()));
    assert_eq!(stand.depth().await, (0, 0, 0));
}

pub async fn an_old_receipt_does_as_it_is_said_to(stand: &QueueStand) {
    stand.send("work").await;
    let old = stand.one(stand.slack, LONG).await;
    stand.queue.extend(&old.receipt, NONE).await.unwrap();
    let new = stand.one(stand.slack, LONG).await;
    let extended = stand.queue.extend(&old.receipt, NONE).await;
    if stand.old_receipts_act {
        assert_eq!(extended, Ok(()));
        assert_eq!(stand.one(stand.slack, LONG).await.delivery, 3);
        assert_eq!(stand.delete(&old.receipt).await, Ok(()));
        assert_eq!(stand.depth().await, (0, 0, 0), "it deletes the message under its holder");
    } else {
        assert_eq!(extended, Err(QueueError::Gone));
        assert_eq!(stand.delete(&old.receipt).await, Err(QueueError::Gone));
        assert!(stand.receive(LONG).await.is_empty(), "the new lease holds");
        assert_eq!(stand.depth().await, (0, 1, 0));
    }
    assert_eq!(stand.delete(&new.receipt).await, Ok(()));
    assert_eq!(stand.depth().await, (0, 0, 0));
}

pub async fn a_deleted_message_is_gone(stand: &QueueStand) {
    stand.send("work").await;
    let message = stand.one(stand.slack, stand.tick).await;
    assert_eq!(stand.delete(&message.receipt).await, Ok(()));
    assert_eq!(stand.queue.extend(&message.receipt, LONG).await, Err(QueueError::Gone));
    stand.clock.sleep(stand.tick + stand.slack).await;
    assert!(stand.receive(LONG).await.is_empty(), "its lease's end does not bring it back");
}

pub async fn what_is_no_receipt_is_an_error(stand: &QueueStand) {
    for garbage in ["", "garbage", "1", "-1.1", "1.1.1"] {
        let receipt = Receipt(garbage.to_owned());
        assert!(stand.queue.extend(&receipt, LONG).await.is_err(), "`{garbage}` was extended");
    }
}

pub async fn an_empty_long_poll_ends_when_it_should(stand: &QueueStand) {
    let (messages, took) = stand.timed(stand.queue.receive(10, stand.tick, LONG)).await;
    assert_eq!(messages, Ok(vec![]));
    assert!(took >= stand.tick && took <= stand.tick + stand.late(), "took {took:?}");
    let (messages, took) = stand.timed(stand.queue.receive(10, NONE, LONG)).await;
    assert_eq!(messages, Ok(vec![]));
    assert!(took <= stand.late(), "took {took:?}");
}

pub async fn a_long_poll_wakes_on_a_send(stand: &QueueStand) {
    let wait = limits::LONG_POLL;
    let send = async {
        stand.clock.sleep(stand.tick).await;
        stand.send("work").await;
    };
    let ((message, took), ()) = join(stand.timed(stand.one(wait, LONG)), send).await;
    assert_eq!(message.body, "work");
    assert!(took <= stand.tick + stand.late(), "woke after {took:?}");
}

pub async fn a_long_poll_wakes_when_a_lease_lapses(stand: &QueueStand) {
    stand.send("work").await;
    stand.one(stand.slack, stand.tick * 2).await;
    let wait = limits::LONG_POLL;
    let (message, took) = stand.timed(stand.one(wait, LONG)).await;
    assert_eq!(message.delivery, 2);
    // SQS looks at its leases now and then only.
    assert!(took <= stand.tick * 2 + stand.late(), "woke after {took:?}");
}

pub async fn a_long_poll_wakes_when_a_message_is_given_back(stand: &QueueStand) {
    stand.send("work").await;
    let held = stand.one(stand.slack, LONG).await;
    let wait = limits::LONG_POLL;
    let give_back = async {
        stand.clock.sleep(stand.tick).await;
        stand.queue.extend(&held.receipt, NONE).await.unwrap();
    };
    let ((message, took), ()) = join(stand.timed(stand.one(wait, LONG)), give_back).await;
    assert_eq!(message.delivery, 2);
    assert!(took <= stand.tick + stand.late(), "woke after {took:?}");
}

pub async fn receivers_do_not_share_a_message(stand: &QueueStand) {
    const COUNT: usize = 50;
    for batch in 0..COUNT / 10 {
        let messages = (0..10).map(|n| Outgoing::new((batch * 10 + n).to_string())).collect();
        stand.send_all(messages).await;
    }
    let receivers = (0..5).map(|receiver| async move {
        let mut got = Vec::new();
        loop {
            let messages = stand.queue.receive(1 + receiver, stand.tick, LONG).await.unwrap();
            if messages.is_empty() {
                return got;
            }
            assert!(messages.len() <= 1 + receiver);
            got.extend(messages);
        }
    });
    let got: Vec<Received> = join_all(receivers).await.into_iter().flatten().collect();
    assert!(got.iter().all(|message| message.delivery == 1));
    let bodies: BTreeSet<usize> = got.iter().map(|message| message.body.parse().unwrap()).collect();
    let ids: BTreeSet<&str> = got.iter().map(|message| message.id.as_str()).collect();
    assert_eq!((got.len(), bodies.len(), ids.len()), (COUNT, COUNT, COUNT));
}

pub async fn depth_tells_where_messages_are(stand: &QueueStand) {
    assert!(stand.queue.depth().await.unwrap().is_dry());
    let delayed = Outgoing { delay: LONG, ..Outgoing::new("delayed".to_owned()) };
    stand.send_all(vec![delayed, Outgoing::new("1".to_owned()), Outgoing::new("2".to_owned())]).await;
    assert_eq!(stand.depth().await, (2, 0, 1));
    let held = stand.one(stand.slack, LONG).await;
    assert_eq!(stand.depth().await, (1, 1, 1));
    stand.queue.extend(&held.receipt, NONE).await.unwrap();
    assert_eq!(stand.depth().await, (2, 0, 1));
}

pub async fn metadata_travels_and_groups_do_not_hold_up(stand: &QueueStand) {
    let metadata = "moved: not a message (expected `{`)".to_owned();
    let message = |n: usize| Outgoing {
        group: Some(format!("app-{}", n % 2)),
        metadata: (n == 0).then(|| metadata.clone()),
        ..Outgoing::new(n.to_string())
    };
    stand.send_all((0..6).map(message).collect()).await;
    for left in (0..6).rev() {
        let message = stand.one(stand.slack, LONG).await;
        assert_eq!(message.metadata, (message.body == "0").then(|| metadata.clone()));
        assert_eq!(stand.depth().await.0, left, "a held message does not hold up its group");
    }
}
