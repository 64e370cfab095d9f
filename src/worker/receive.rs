//! One queue as a worker receives it: one long poll at a time; messages that cannot be read are put aside.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::event::Event;
use crate::layout::Message;
use crate::layout::message::Unreadable;
use crate::limits;
use crate::seam::queue::{self, Outgoing, QueueError, Received};
use crate::submit::send;

/// The pause after a receive that failed past all its retries; longer after each one that follows.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(8);
/// How long a worker that stops at a dry queue waits for more.
const DRY_POLL: Duration = Duration::from_secs(1);

type Poll = Pin<Box<dyn Future<Output = Polled> + Send>>;

pub struct Polled {
    /// When the receive was begun.
    pub at: Duration,
    pub answer: Result<Vec<Received>, QueueError>,
}

pub struct Lane {
    pub name: &'static str,
    lane: queue::Lane,
    poll: Option<Poll>,
    /// Receives that failed since one succeeded.
    failures: u32,
    /// A newer program writes to this queue.
    outdated: bool,
}

impl Lane {
    /// By the order of [`queue::Queues::lanes`].
    pub fn new(shared: &Shared, index: usize) -> Lane {
        let (name, lane) = shared.seams.queues.lanes()[index];
        Lane { name, lane: lane.clone(), poll: None, failures: 0, outdated: false }
    }

    /// It has messages that a newer program wrote; this worker takes nothing more from it.
    pub fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Begins to receive up to `room` messages, unless a receive is under way.
    pub fn poll(&mut self, shared: &Arc<Shared>, room: usize) {
        if room == 0 || self.poll.is_some() || self.outdated {
            return;
        }
        let (shared, queue) = (shared.clone(), self.lane.live.clone());
        let wait =
            if shared.config.until_dry { DRY_POLL } else { Duration::from_millis(limits::LONG_POLL_MS) };
        let pause = AGAIN_MAX.min(AGAIN * (1 << self.failures.min(10)));
        self.poll = Some(Box::pin(async move {
            let at = shared.seams.clock.monotonic();
            let answer =
                queue.receive(room.min(limits::QUEUE_BATCH_MAX), wait, shared.config.visibility).await;
            if answer.is_err() {
                shared.seams.clock.sleep(pause).await;
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

    /// Ends the receive under way, if there is one. It is given a moment to end by itself: cut off, it may take
    /// messages along.
    pub async fn last_polled(&mut self, shared: &Shared) -> Option<Polled> {
        let mut poll = self.poll.take()?;
        tokio::select! {
            biased;
            polled = &mut poll => Some(polled),
            () = shared.seams.clock.sleep(shared.config.last_poll) => None,
        }
    }

    /// `None`: it was put aside.
    pub async fn read(&mut self, shared: &Shared, message: &Received) -> Option<Message> {
        match Message::decode(&message.body) {
            Ok(read) if read.queue() == self.name => return Some(read),
            Ok(read) => {
                let why = format!("a message for queue `{}`", read.queue());
                self.dead_letter(shared, message, why).await;
            }
            Err(Unreadable::Newer(version)) => self.put_back_newer(shared, message, version).await,
            Err(Unreadable::Malformed(why)) => self.dead_letter(shared, message, why).await,
        }
        None
    }

    /// Others may have at once what came while this worker drains. What came for the first time goes on as a new
    /// message: given back, and one delivery older, it would look as if a worker had been lost with it.
    pub async fn hand_on(&mut self, shared: &Shared, message: &Received) {
        if message.delivery == 1
            && let Ok(read) = Message::decode(&message.body)
        {
            let anew = read.under(send::message_id(&shared.seams));
            if send::send(&self.lane, &anew, Duration::ZERO).await.is_ok() {
                let _ = self.lane.live.delete(std::slice::from_ref(&message.receipt)).await;
                return;
            }
        }
        let _ = self.lane.live.extend(&message.receipt, Duration::ZERO).await;
    }

    /// Others may be newer: they get it after a while. This worker takes nothing more from a queue that it cannot read.
    async fn put_back_newer(&mut self, shared: &Shared, message: &Received, version: u32) {
        self.outdated = true;
        shared.say(Event::NewerMessage { queue: self.name, version });
        let wait = Duration::from_millis(limits::PUT_BACK_MS);
        let _ = self.lane.live.extend(&message.receipt, wait).await;
    }

    /// Deleted only once the dead-letter queue has it.
    async fn dead_letter(&mut self, shared: &Shared, message: &Received, why: String) {
        let letter = Outgoing { note: Some(ascii(&why)), ..Outgoing::new(message.body.clone()) };
        let kept = matches!(self.lane.dead.send(vec![letter]).await.as_deref(), Ok([Ok(())]));
        if kept {
            let _ = self.lane.live.delete(std::slice::from_ref(&message.receipt)).await;
            shared.say(Event::DeadLettered { queue: self.name, why });
        } else {
            let what = format!("move a message of queue `{}` to the dead letters", self.name);
            shared.say(Event::RequestFailed { what, why });
        }
    }
}

/// A note beside a message is printable ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(500).collect()
}
