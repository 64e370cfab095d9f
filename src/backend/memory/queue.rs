//! Messages in the order in which they become visible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::limits;
use crate::model::Time;
use crate::seam::Clock;
use crate::seam::queue::{
    Depth, EntryAnswers, Outgoing, Queue, QueueError, QueueResult, Receipt, Received, check_batch,
};

/// Clones share their messages.
#[derive(Clone)]
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<Messages>>,
    /// Something may have become visible sooner than a waiting receive thought.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Messages {
    sent: u64,
    messages: BTreeMap<u64, Message>,
    /// Every message, by when it can be received, by the monotonic clock.
    by_visibility: BTreeSet<(Duration, u64)>,
}

struct Message {
    body: String,
    metadata: Option<String>,
    sent_at: Time,
    delivery: u32,
    received: Duration,
    visible: Duration,
}

impl MemoryQueue {
    pub fn new(clock: Arc<dyn Clock>) -> MemoryQueue {
        MemoryQueue { clock, state: Arc::default(), changed: Arc::default() }
    }

    /// The bodies of all messages, hidden ones too, in the order in which they were sent. For tests.
    pub fn bodies(&self) -> Vec<String> {
        self.state().messages.values().map(|message| message.body.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, Messages> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Messages {
    fn hide(&mut self, id: u64, until: Duration) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        self.by_visibility.remove(&(message.visible, id));
        message.visible = until;
        self.by_visibility.insert((until, id));
    }

    fn take(&mut self, max: usize, now: Duration, visibility: Duration) -> Vec<Received> {
        let ready: Vec<u64> =
            self.by_visibility.range(..=(now, u64::MAX)).take(max).map(|(_, id)| *id).collect();
        let mut taken = Vec::with_capacity(ready.len());
        for id in ready {
            self.hide(id, now + visibility);
            let message = self.messages.get_mut(&id).expect("what has a visibility exists");
            message.delivery += 1;
            message.received = now;
            taken.push(Received {
                id: id.to_string(),
                receipt: Receipt(format!("{id}.{}", message.delivery)),
                body: message.body.clone(),
                metadata: message.metadata.clone(),
                delivery: message.delivery,
                sent_at: message.sent_at,
            });
        }
        taken
    }

    fn next_visible(&self) -> Option<Duration> {
        self.by_visibility.first().map(|(visible, _)| *visible)
    }
}

/// The message that a receipt names, by whichever delivery: SQS takes old ones too.
fn message_of(receipt: &Receipt) -> QueueResult<u64> {
    let parts = receipt.0.split_once('.');
    parts
        .and_then(|(id, delivery)| delivery.parse::<u32>().ok().and(id.parse().ok()))
        .ok_or_else(|| QueueError::Refused(format!("`{}` is not a receipt", receipt.0)))
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        check_batch(messages.len())?;
        let (now, sent_at) = (self.clock.monotonic(), self.clock.now());
        let mut state = self.state();
        let answers = messages.into_iter().map(|message| {
            message.check()?;
            state.sent += 1;
            let id = state.sent;
            let visible = now + message.delay;
            let Outgoing { body, metadata, .. } = message;
            let message = Message { body, metadata, sent_at, delivery: 0, received: now, visible };
            state.messages.insert(id, message);
            state.by_visibility.insert((visible, id));
            Ok(())
        });
        let answers = answers.collect();
        drop(state);
        self.changed.notify_waiters();
        Ok(answers)
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        check_batch(max)?;
        let until = self.clock.monotonic() + wait;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = self.clock.monotonic();
            let next_visible = {
                let mut state = self.state();
                let taken = state.take(max, now, visibility);
                if !taken.is_empty() {
                    return Ok(taken);
                }
                state.next_visible()
            };
            if now >= until {
                return Ok(Vec::new());
            }
            let wake = next_visible.map_or(until, |visible| visible.min(until));
            tokio::select! {
                biased;
                () = changed => {}
                () = self.clock.sleep(wake - now) => {}
            }
        }
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        let id = message_of(receipt)?;
        let now = self.clock.monotonic();
        {
            let mut state = self.state();
            let message = state.messages.get(&id).ok_or(QueueError::Gone)?;
            let lease = (now + visibility).saturating_sub(message.received);
            if lease > limits::LEASE_MAX {
                return Err(QueueError::Refused("a lease ends 12 hours after its receive".to_owned()));
            }
            state.hide(id, now + visibility);
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        check_batch(receipts.len())?;
        let mut state = self.state();
        let answers = receipts.iter().map(|receipt| {
            let id = message_of(receipt)?;
            if let Some(message) = state.messages.remove(&id) {
                state.by_visibility.remove(&(message.visible, id));
            }
            Ok(())
        });
        Ok(answers.collect())
    }

    async fn depth(&self) -> QueueResult<Depth> {
        let now = self.clock.monotonic();
        let mut depth = Depth::default();
        for message in self.state().messages.values() {
            if message.visible <= now {
                depth.visible += 1;
            } else if message.delivery == 0 {
                depth.delayed += 1;
            } else {
                depth.in_flight += 1;
            }
        }
        Ok(depth)
    }
}
