//! How a worker receives from one queue: one long poll at a time. A message that this worker cannot work on is set aside
//! alone and does not affect other messages.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::done::PutAside;
use super::lease::Lease;
use super::set_aside::SetAside;
use super::unreadable::{dead_letter, put_back_wait};
use crate::event::Event;
use crate::layout::message::Unreadable;
use crate::layout::{Message, origin};
use crate::limits;
use crate::model::{BatchId, QueueName, StoreId};
use crate::planted::planted;
use crate::seam::RngExt as _;
use crate::seam::queue::{Outgoing, QueueError, QueuePair, Received};
use crate::submit::send;

/// The pause after a request that failed past all its retries; longer after each one that follows.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(8);
/// Failures in a row after which a queue or store that does not exist ends the worker: some seconds.
pub const LOST_AFTER: u32 = 3;
/// A worker that runs a suspect waits so long before it receives the next range.
const SUSPECT_PAUSE: Duration = Duration::from_secs(1);
/// How long a worker that stops at a dry queue waits for more.
const DRY_POLL: Duration = Duration::from_secs(1);

pub fn pause_after(failures: u32) -> Duration {
    AGAIN_MAX.min(AGAIN * (1 << failures.saturating_sub(1).min(10)))
}

type Poll = Pin<Box<dyn Future<Output = Polled> + Send>>;

pub struct Polled {
    /// When the receive was begun.
    pub at: Duration,
    pub answer: Result<Vec<Received>, QueueError>,
}

pub struct Receiver {
    pub name: QueueName,
    /// The store that this worker serves.
    own: StoreId,
    queues: QueuePair,
    poll: Option<Poll>,
    /// Receives that failed since one succeeded.
    failures: u32,
    set_aside: SetAside,
    /// When the last message that cannot be read was told of.
    told_at: Option<Duration>,
}

/// Why a message cannot be worked on here.
enum PutBackReason {
    Foreign { store: StoreId, own: StoreId },
    Newer(u32),
    Unreadable(String),
}

impl PutBackReason {
    fn why(&self) -> String {
        match self {
            PutBackReason::Foreign { store, own } => {
                format!("it is of store {store}, this worker serves store {own}")
            }
            PutBackReason::Newer(version) => format!("format {version} is newer than this afn"),
            PutBackReason::Unreadable(why) => why.clone(),
        }
    }

    fn wait(&self, delivery: u32) -> Duration {
        let longest = match self {
            PutBackReason::Foreign { .. } => limits::PUT_BACK,
            PutBackReason::Newer(_) | PutBackReason::Unreadable(_) => limits::DELAY_MAX,
        };
        put_back_wait(delivery, longest)
    }
}

impl Receiver {
    pub fn new(shared: &Shared, name: QueueName, own: StoreId) -> Receiver {
        let queues = shared.deps.queues.get(name).clone();
        let set_aside = SetAside::default();
        Receiver { name, own, queues, poll: None, failures: 0, set_aside, told_at: None }
    }

    /// How many messages on the queue are hidden because this worker cannot work on them, and why one of them.
    pub fn put_aside(&mut self, now: Duration) -> (u64, Option<&str>) {
        self.set_aside.count(now)
    }

    /// Whether a message of the batch is hidden because this worker cannot work on it.
    pub fn has_set_aside(&self, batch: BatchId) -> bool {
        self.set_aside.has(batch)
    }

    /// A message that this worker cannot work on now, or another in its place, lies on the queue. `pause`: the most that this
    /// worker waits before it receives the next one. Returns the lease of a message that is to be deleted.
    pub fn set_aside(&mut self, aside: PutAside, pause: Duration, now: Duration) -> Option<Lease> {
        let PutAside { lease, id, new_id, batch, wait, why } = aside;
        self.set_aside.remove(&id.to_string());
        let (others, _) = self.set_aside.count(now);
        // One receive may bring no more than one of them.
        let until = now + wait + pause * (others as u32 + 1);
        self.set_aside.put(new_id.to_string(), batch, until, why);
        lease
    }

    /// Whether nothing is on the queue that this worker could work on, now or later, beside the `held` messages that it has.
    pub async fn is_dry(&mut self, held: u64, now: Duration) -> bool {
        let (aside, _) = self.put_aside(now);
        match self.queues.live.depth().await {
            Ok(depth) => depth.visible + depth.in_flight + depth.delayed <= aside + held,
            Err(_) => false,
        }
    }

    /// Whether a receive is under way.
    pub fn is_polling(&self) -> bool {
        self.poll.is_some()
    }

    /// Begins to receive up to `room` messages, unless a receive is under way. `wait`: how long it waits for the first.
    pub fn poll(&mut self, shared: &Arc<Shared>, room: usize, wait: Duration) {
        if room == 0 || self.poll.is_some() {
            return;
        }
        let (shared, queue) = (shared.clone(), self.queues.live.clone());
        let wait = if shared.config.until_dry { wait.min(DRY_POLL) } else { wait };
        let pause = pause_after(self.failures + 1);
        let mut others_first = shared.mismatch_backoff[self.name].pause(&*shared.deps.rng);
        // A second suspect would wait here for the first: workers without one are to receive it.
        if self.name == QueueName::Chunks && shared.quarantine.has_suspect() {
            others_first = others_first.max(SUSPECT_PAUSE);
        }
        let visibility = shared.config.visibility_of(self.name);
        self.poll = Some(Box::pin(async move {
            if others_first > Duration::ZERO {
                shared.deps.clock.sleep(others_first).await;
            }
            let at = shared.deps.clock.monotonic();
            let answer = queue.receive(room.min(limits::QUEUE_BATCH_MAX), wait, visibility).await;
            if answer.is_err() {
                shared.deps.clock.sleep(pause).await;
            }
            Polled { at, answer }
        }));
    }

    /// The end of the receive under way; never, if there is none.
    pub async fn polled(&mut self) -> Polled {
        let Some(poll) = &mut self.poll else { return std::future::pending().await };
        let polled = poll.await;
        self.poll = None;
        self.failures = if polled.answer.is_err() { self.failures.saturating_add(1) } else { 0 };
        polled
    }

    /// Whether no help of time is to be expected: the queue does not exist, or nobody says who asks. A queue that was just made
    /// may not be found at first, nor credentials of a machine that just started.
    pub fn is_lost(&self, error: &QueueError) -> bool {
        matches!(error, QueueError::Unreached(unreached) if !unreached.may_recover)
            && self.failures >= LOST_AFTER
    }

    /// Ends the receive under way, if there is one. It is given a moment to end by itself: cut off, it may take
    /// messages along.
    pub async fn last_polled(&mut self, shared: &Shared) -> Option<Polled> {
        let mut poll = self.poll.take()?;
        tokio::select! {
            biased;
            polled = &mut poll => Some(polled),
            () = shared.deps.clock.sleep(shared.config.last_poll) => None,
        }
    }

    /// None if the message was put aside.
    pub async fn read(&mut self, shared: &Shared, message: &Received) -> Option<Message> {
        let store = planted!(origin::origin(&message.body), ForeignMessageDeleted => None);
        if let Some(store) = store.filter(|store| *store != self.own) {
            let reason = PutBackReason::Foreign { store, own: self.own };
            self.put_back(shared, message, reason).await;
            return None;
        }
        match Message::decode(&message.body) {
            Ok(read) if read.queue() == self.name => return Some(read),
            Ok(read) => {
                let why = format!("a message for queue `{}`", read.queue());
                dead_letter(shared, self.name, message, why).await;
            }
            Err(Unreadable::Newer(version)) => {
                self.put_back(shared, message, PutBackReason::Newer(version)).await;
            }
            Err(Unreadable::Older(version)) => {
                let why = format!("format {version}: drain with the older afn first");
                dead_letter(shared, self.name, message, why).await;
            }
            // Another version of this program may know what to do with what bears its mark.
            Err(Unreadable::Malformed(why)) if is_of_afn(&message.body) => {
                self.put_back(shared, message, PutBackReason::Unreadable(why)).await;
            }
            Err(Unreadable::Malformed(why)) => dead_letter(shared, self.name, message, why).await,
        }
        None
    }

    /// Others may have at once what came while this worker drains. What came for the first time goes on as a new
    /// message: given back, and one delivery older, it would look as if a worker had been lost with it.
    pub async fn hand_on(&mut self, shared: &Shared, message: &Received) {
        let is_own = origin::origin(&message.body).is_none_or(|store| store == self.own);
        if message.delivery == 1
            && is_own
            && let Ok(read) = Message::decode(&message.body)
        {
            let anew = read.under(send::message_id(&shared.deps));
            if send::send(&self.queues, &anew, Duration::ZERO).await.is_ok() {
                let _ = self.queues.live.delete(std::slice::from_ref(&message.receipt)).await;
                return;
            }
        }
        let _ = self.queues.live.extend(&message.receipt, Duration::ZERO).await;
    }

    /// Other workers may be able to work on the message. After its put-backs it goes to the dead letters. One of another
    /// store never does: that store may be in use, and is not told of its dead letters. It is sent anew instead (N1).
    async fn put_back(&mut self, shared: &Shared, message: &Received, reason: PutBackReason) {
        let now = shared.deps.clock.monotonic();
        // Spread, or the same worker may be the first to meet the message every time.
        let longest_ms = reason.wait(message.delivery).as_millis() as u64;
        let wait = Duration::from_millis(longest_ms / 2 + shared.deps.rng.below(longest_ms / 2 + 1));
        let last = message.delivery >= limits::PUT_BACK_COUNT_MAX;
        let why = reason.why();
        self.set_aside.remove(&message.id);
        let hidden = match &reason {
            PutBackReason::Newer(_) | PutBackReason::Unreadable(_) if last => {
                return dead_letter(shared, self.name, message, why).await;
            }
            PutBackReason::Foreign { .. } if last => self.send_anew(shared, message, wait).await,
            _ => self.queues.live.extend(&message.receipt, wait).await.is_ok().then(|| message.id.clone()),
        };
        if let Some(id) = hidden {
            self.set_aside.put(id, None, now + wait, why);
        }
        let young = limits::PUT_ASIDE_TOLD;
        if self.told_at.is_some_and(|at| now.saturating_sub(at) < young) {
            return;
        }
        self.told_at = Some(now);
        let queue = self.name;
        shared.emit(match reason {
            PutBackReason::Foreign { store, own } => Event::ForeignMessage { queue, store, own },
            PutBackReason::Newer(version) => Event::NewerMessage { queue, version },
            PutBackReason::Unreadable(why) => Event::UnreadableMessage { queue, why },
        });
    }

    /// The same body as a new message, whose deliveries count from 1. Returns a name for it.
    async fn send_anew(&mut self, shared: &Shared, message: &Received, delay: Duration) -> Option<String> {
        let group = Message::decode(&message.body).ok().map(|read| read.group());
        let anew = Outgoing { delay, group, ..Outgoing::new(message.body.clone()) };
        // Only an acknowledged send counts (H12).
        if !matches!(self.queues.live.send(vec![anew]).await.as_deref(), Ok([Ok(())])) {
            let _ = self.queues.live.extend(&message.receipt, delay).await;
            return Some(message.id.clone());
        }
        let _ = self.queues.live.delete(std::slice::from_ref(&message.receipt)).await;
        Some(send::message_id(&shared.deps).to_string())
    }
}

/// Whether a body has the version that every message of afn begins with.
fn is_of_afn(body: &str) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    value.is_some_and(|value| value.get("v").is_some_and(serde_json::Value::is_u64))
}
