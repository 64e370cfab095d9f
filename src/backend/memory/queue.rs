//! Messages in the order in which they become visible, groups by turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
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
    /// The group that receives made here bring first.
    preferred: OnceLock<String>,
}

#[derive(Default)]
struct Messages {
    sent: u64,
    messages: BTreeMap<u64, Message>,
    /// Messages that are hidden, by when they can be received, by the monotonic clock.
    hidden: BTreeSet<(Duration, u64)>,
    groups: BTreeMap<Option<String>, Group>,
}

#[derive(Default)]
struct Group {
    /// Visible messages, by when they became so.
    visible: BTreeSet<(Duration, u64)>,
    /// Received, and not visible again.
    in_flight: u64,
}

struct Message {
    body: String,
    group: Option<String>,
    metadata: Option<String>,
    sent_at: Time,
    delivery: u32,
    received: Duration,
    visible: Duration,
}

impl MemoryQueue {
    pub fn new(clock: Arc<dyn Clock>) -> MemoryQueue {
        MemoryQueue { clock, state: Arc::default(), changed: Arc::default(), preferred: OnceLock::new() }
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
    fn group(&mut self, name: &Option<String>) -> &mut Group {
        self.groups.entry(name.clone()).or_default()
    }

    /// Shows what is not to be hidden any longer.
    fn show(&mut self, now: Duration) {
        while let Some((visible, id)) = self.hidden.first().copied().filter(|(visible, _)| *visible <= now) {
            self.hidden.pop_first();
            let message = &self.messages[&id];
            let (name, received) = (message.group.clone(), message.delivery > 0);
            let group = self.group(&name);
            group.visible.insert((visible, id));
            group.in_flight -= u64::from(received);
        }
    }

    fn hide(&mut self, id: u64, until: Duration) {
        self.take_out(id);
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.visible = until;
        let (name, received) = (message.group.clone(), message.delivery > 0);
        self.hidden.insert((until, id));
        self.group(&name).in_flight += u64::from(received);
    }

    /// Out of where it is listed.
    fn take_out(&mut self, id: u64) {
        let Some(message) = self.messages.get(&id) else { return };
        let (place, name, received) = ((message.visible, id), message.group.clone(), message.delivery > 0);
        let was_hidden = self.hidden.remove(&place);
        let group = self.group(&name);
        match was_hidden {
            true => group.in_flight -= u64::from(received),
            false => drop(group.visible.remove(&place)),
        }
        if group.visible.is_empty() && group.in_flight == 0 {
            self.groups.remove(&name);
        }
    }

    fn take(
        &mut self,
        max: usize,
        now: Duration,
        visibility: Duration,
        preferred: Option<&String>,
    ) -> Vec<Received> {
        self.show(now);
        let mut taken = Vec::new();
        while taken.len() < max {
            let first = |(name, group): (&Option<String>, &Group)| {
                let waits = preferred.is_none_or(|preferred| name.as_ref() != Some(preferred));
                Some((waits, group.in_flight, *group.visible.first()?))
            };
            let Some((_, _, (_, id))) = self.groups.iter().filter_map(first).min() else { break };
            // Before it counts as received.
            self.take_out(id);
            let message = self.messages.get_mut(&id).expect("what is listed exists");
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
            message.visible = now + visibility;
            let (place, name) = ((message.visible, id), message.group.clone());
            self.hidden.insert(place);
            self.group(&name).in_flight += 1;
        }
        taken
    }

    fn next_visible(&self) -> Option<Duration> {
        let visible = self.groups.values().filter_map(|group| group.visible.first()).min();
        visible.or(self.hidden.first()).map(|(visible, _)| *visible)
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
            let Outgoing { body, metadata, group, .. } = message;
            let message = Message { body, group, metadata, sent_at, delivery: 0, received: now, visible };
            state.messages.insert(id, message);
            state.hidden.insert((visible, id));
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
                let taken = state.take(max, now, visibility, self.preferred.get());
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
            state.show(now);
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
            state.take_out(id);
            state.messages.remove(&id);
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

    fn prefer(&self, group: &str) {
        let _ = self.preferred.set(group.to_owned());
    }
}
