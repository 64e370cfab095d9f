//! A worker's life: receive when a slot is free, start what is leased, delete what is finished, fall sick and recover,
//! drain.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::health::{self, Streak};
use super::lease::{self, Lease};
use super::phase::Phase;
use super::single::{self, Done};
use super::{Shared, Stop, Summary, Worker, reconcile};
use crate::error::Result;
use crate::event::Event;
use crate::layout::Message;
use crate::layout::message::Unreadable;
use crate::limits;
use crate::seam::queue::{Outgoing, QueueError, Received};

/// Finished messages are deleted in one request for ten, or after this.
const DELETE_WITHIN: Duration = Duration::from_millis(100);
/// The pause after a receive that failed past all its retries.
const RECEIVE_AGAIN: Duration = Duration::from_secs(1);
/// How long a worker that stops at a dry queue waits for more; twice in a row must be empty, since a queue's counts lag.
const DRY_POLL: Duration = Duration::from_secs(1);
const DRY_LOOKS: u32 = 2;
/// A poll under way when a worker drains is given this to end by itself: cut off, it may take messages along.
const LAST_POLL: Duration = Duration::from_millis(500);

type Poll = Pin<Box<dyn Future<Output = Polled> + Send>>;

struct Polled {
    /// When the receive was begun.
    at: Duration,
    answer: Result<Vec<Received>, QueueError>,
}

struct Life {
    shared: Arc<Shared>,
    calls: JoinSet<Done>,
    /// Lease keeper, reconciler, deletions: whatever is not a call.
    chores: JoinSet<()>,
    deletions: JoinSet<()>,
    recovery: JoinSet<()>,
    streak: Streak,
    finished: Vec<Lease>,
    summary: Summary,
    /// A newer program writes to this queue.
    outdated: bool,
    dry_looks: u32,
    reconciled_hour: Option<u64>,
}

pub async fn run(worker: Worker, stop: watch::Receiver<Stop>) -> Result<Summary> {
    let Worker { shared } = worker;
    let name = shared.config.name.clone();
    shared.say(Event::WorkerStarted { worker: name.clone(), slots: shared.config.slots });
    let mut life = Life {
        shared,
        calls: JoinSet::new(),
        chores: JoinSet::new(),
        deletions: JoinSet::new(),
        recovery: JoinSet::new(),
        streak: Streak::default(),
        finished: Vec::new(),
        summary: Summary::default(),
        outdated: false,
        dry_looks: 0,
        reconciled_hour: None,
    };
    life.chores.spawn(lease::keep(life.shared.clone()));
    life.live(stop).await;
    let Summary { finished, handed_back } = life.summary;
    life.shared.say(Event::WorkerStopped { worker: name, finished, handed_back });
    Ok(life.summary)
}

impl Life {
    async fn live(&mut self, mut stop: watch::Receiver<Stop>) {
        let mut poll: Option<Poll> = None;
        let mut grace: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        let mut wanted = *stop.borrow_and_update();
        loop {
            match wanted {
                Stop::Run => {}
                Stop::Drain => {
                    if grace.is_none() {
                        grace = Some(self.drain());
                    }
                }
                Stop::Now => {
                    self.shared.phases.advance(Phase::HandBack);
                }
            }
            let working = self.shared.phases.now() == Phase::Work;
            if working && poll.is_none() && self.may_receive() {
                poll = Some(self.poll());
            }
            if !working && self.calls.is_empty() {
                break;
            }
            if working && self.is_dry() {
                break;
            }
            tokio::select! {
                biased;
                changed = stop.changed() => wanted = match changed {
                    Ok(()) => wanted.max(*stop.borrow_and_update()),
                    // Nobody is left who could tell: as if told to drain.
                    Err(_) => Stop::Drain.max(wanted),
                },
                Some(done) = self.calls.join_next() => self.settle(done.ok()),
                Some(_) = self.recovery.join_next() => {}
                polled = async { poll.as_mut().expect("asked only if there is one").await }, if poll.is_some() => {
                    poll = None;
                    self.take(polled).await;
                }
                () = async { grace.as_mut().expect("asked only if there is one").await }, if grace.is_some() && self.shared.phases.now() == Phase::Drain => {
                    self.shared.phases.advance(Phase::HandBack);
                }
                () = self.shared.seams.clock.sleep(DELETE_WITHIN), if !self.finished.is_empty() => self.delete_finished(),
            }
            if self.finished.len() >= limits::QUEUE_BATCH_MAX {
                self.delete_finished();
            }
        }
        if let Some(poll) = poll {
            let shared = self.shared.clone();
            tokio::select! {
                biased;
                polled = poll => self.take(polled).await,
                () = shared.seams.clock.sleep(LAST_POLL) => {}
            }
        }
        while !self.finished.is_empty() {
            self.delete_finished();
        }
        while self.deletions.join_next().await.is_some() {}
    }

    fn may_receive(&self) -> bool {
        self.calls.len() < self.shared.config.slots && self.recovery.is_empty() && !self.outdated
    }

    /// Takes no more than can start now: every message taken is a lease that runs.
    fn poll(&self) -> Poll {
        let shared = self.shared.clone();
        let free = shared.config.slots - self.calls.len();
        let wait =
            if shared.config.until_dry { DRY_POLL } else { Duration::from_millis(limits::LONG_POLL_MS) };
        Box::pin(async move {
            let at = shared.seams.clock.monotonic();
            let queue = &shared.seams.queues.calls.live;
            let answer =
                queue.receive(free.min(limits::QUEUE_BATCH_MAX), wait, shared.config.visibility).await;
            if answer.is_err() {
                shared.seams.clock.sleep(RECEIVE_AGAIN).await;
            }
            Polled { at, answer }
        })
    }

    async fn take(&mut self, polled: Polled) {
        let messages = match polled.answer {
            Ok(messages) => messages,
            Err(error) => {
                let what = "receive from queue `calls`".to_owned();
                return self.shared.say(Event::RequestFailed { what, why: error.to_string() });
            }
        };
        if messages.is_empty() {
            return self.nothing_came().await;
        }
        self.dry_looks = 0;
        for message in messages {
            if self.shared.phases.now() != Phase::Work {
                // Came while draining: others may have it at once.
                let _ = self.shared.seams.queues.calls.live.extend(&message.receipt, Duration::ZERO).await;
                continue;
            }
            match Message::decode(&message.body) {
                Ok(Message::Call(call)) => {
                    if let Some(lease) = self.shared.leases.take(&message, polled.at) {
                        self.calls.spawn(single::work(self.shared.clone(), lease, call));
                    }
                }
                Err(Unreadable::Newer(version)) => self.put_back_newer(message, version).await,
                Err(Unreadable::Malformed(why)) => self.dead_letter(message, why).await,
            }
        }
    }

    async fn nothing_came(&mut self) {
        if self.shared.config.reconcile {
            let hour = self.shared.seams.now().0 / limits::RECONCILE_EVERY_MS;
            if self.reconciled_hour.replace(hour) != Some(hour) {
                self.chores.spawn(reconcile::hourly(self.shared.clone(), hour));
            }
        }
        if self.shared.config.until_dry && self.calls.is_empty() && self.finished.is_empty() {
            let dry =
                matches!(self.shared.seams.queues.calls.live.depth().await, Ok(depth) if depth.is_dry());
            self.dry_looks = if dry { self.dry_looks + 1 } else { 0 };
        }
    }

    fn is_dry(&self) -> bool {
        self.shared.config.until_dry && self.dry_looks >= DRY_LOOKS && self.calls.is_empty()
    }

    fn settle(&mut self, done: Option<Done>) {
        match done {
            Some(Done::Finished(lease)) => {
                self.summary.finished += 1;
                self.streak.finished();
                self.finished.push(lease);
            }
            Some(Done::Replaced { lease, handed_back }) => {
                self.summary.handed_back += u64::from(handed_back);
                self.finished.push(lease);
            }
            // A task that panicked counts as lost: its lease lapses.
            Some(Done::Left) | None => {}
            Some(Done::Sick(why)) => {
                self.summary.handed_back += 1;
                if self.recovery.is_empty() {
                    self.streak.fell_sick();
                    self.recovery.spawn(health::recover(self.shared.clone(), self.streak.count(), why));
                }
            }
        }
    }

    /// One request for up to ten. A message whose deletion fails comes back, finds its call decided and is deleted then.
    fn delete_finished(&mut self) {
        let some = self.finished.len().min(limits::QUEUE_BATCH_MAX);
        let leases: Vec<Lease> = self.finished.drain(..some).collect();
        let shared = self.shared.clone();
        self.deletions.spawn(async move {
            let receipts: Vec<_> = leases.iter().map(Lease::receipt).collect();
            if let Err(error) = shared.seams.queues.calls.live.delete(&receipts).await {
                let what = "delete finished messages".to_owned();
                shared.say(Event::RequestFailed { what, why: error.to_string() });
            }
        });
        while self.deletions.try_join_next().is_some() {}
    }

    /// Receives no more. The future ends with the grace.
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let shared = self.shared.clone();
        shared.say(Event::Draining { worker: shared.config.name.clone(), running: self.calls.len() });
        shared.phases.advance(Phase::Drain);
        Box::pin(async move { shared.seams.clock.sleep(shared.config.grace).await })
    }

    /// Others may be newer: they get it after a while. This worker takes nothing more from a queue that it cannot read.
    async fn put_back_newer(&mut self, message: Received, version: u32) {
        self.outdated = true;
        self.shared.say(Event::NewerMessage { queue: "calls", version });
        let wait = Duration::from_millis(limits::PUT_BACK_MS);
        let _ = self.shared.seams.queues.calls.live.extend(&message.receipt, wait).await;
    }

    /// Deleted only once the dead-letter queue has it.
    async fn dead_letter(&mut self, message: Received, why: String) {
        let lane = &self.shared.seams.queues.calls;
        let letter = Outgoing { note: Some(ascii(&why)), ..Outgoing::new(message.body) };
        let kept = matches!(lane.dead.send(vec![letter]).await.as_deref(), Ok([Ok(())]));
        if kept {
            let _ = lane.live.delete(&[message.receipt]).await;
            self.shared.say(Event::DeadLettered { queue: "calls", why });
        } else {
            let what = "move a message to the dead letters".to_owned();
            self.shared.say(Event::RequestFailed { what, why });
        }
    }
}

/// A note beside a message is printable ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(500).collect()
}
