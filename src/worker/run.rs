//! A worker's life: receive when a slot is free, start what is leased, delete what is finished, fall sick and recover,
//! drain.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::health::{self, Streak};
use super::lease::{self, Lease};
use super::phase::Phase;
use super::receive::{Lane, Polled};
use super::single::{self, Done};
use super::slots::Class;
use super::{Shared, Stop, Summary, Worker, range, reconcile, supervise};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::layout::Message;
use crate::limits;
use crate::planted::planted;
use crate::seam::queue::Received;

/// Finished messages are deleted in one request for ten, or after this.
const DELETE_WITHIN: Duration = Duration::from_millis(100);
/// A worker that stops at a dry queue has seen it dry so often in a row: a queue's counts lag.
const DRY_LOOKS: u32 = 2;

pub(super) type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Life {
    shared: Arc<Shared>,
    lanes: [Lane; 3],
    /// Messages that are worked on, of all lanes.
    work: JoinSet<(usize, Done)>,
    /// How many of them are of each lane.
    held: [usize; 3],
    /// Lease keeper, reconciler.
    chores: JoinSet<()>,
    deletions: JoinSet<()>,
    recovery: JoinSet<()>,
    streak: Streak,
    finished: Vec<Lease>,
    summary: Summary,
    dry_looks: u32,
    reconciled_hour: Option<u64>,
}

const CALLS: usize = 0;
const CHUNKS: usize = 1;
const BATCHES: usize = 2;

pub async fn run(worker: Worker, stop: watch::Receiver<Stop>) -> Result<Summary> {
    let Worker { shared } = worker;
    let name = shared.config.name.clone();
    shared.say(Event::WorkerStarted { worker: name.clone(), slots: shared.config.slots });
    let mut life = Life {
        lanes: [CALLS, CHUNKS, BATCHES].map(|index| Lane::new(&shared, index)),
        shared,
        work: JoinSet::new(),
        held: [0; 3],
        chores: JoinSet::new(),
        deletions: JoinSet::new(),
        recovery: JoinSet::new(),
        streak: Streak::default(),
        finished: Vec::new(),
        summary: Summary::default(),
        dry_looks: 0,
        reconciled_hour: None,
    };
    life.chores.spawn(lease::keep(life.shared.clone()));
    life.live(stop).await;
    let Summary { finished, handed_back } = life.summary;
    life.shared.say(Event::WorkerStopped { worker: name, finished, handed_back });
    let outdated = life.lanes.iter().find(|lane| lane.is_outdated());
    if let Some(lane) = outdated.filter(|_| life.shared.config.until_dry) {
        let queue = lane.name;
        let error = format!("queue `{queue}` is not dry: it has messages that are newer than this afn");
        return Err(Error::conflict(error).hint("update afn here, or run a newer worker"));
    }
    Ok(life.summary)
}

impl Life {
    async fn live(&mut self, mut stop: watch::Receiver<Stop>) {
        let mut grace: Option<Timer> = None;
        let mut wanted = *stop.borrow_and_update();
        loop {
            match wanted {
                Stop::Run => {}
                Stop::Drain if grace.is_none() => grace = Some(self.drain()),
                Stop::Drain => {}
                Stop::Now => self.shared.phases.advance(Phase::HandBack),
            }
            let working = self.shared.phases.now() == Phase::Work;
            if (!working && self.work.is_empty()) || (working && self.is_dry()) {
                break;
            }
            if working {
                self.poll();
            }
            let [calls, chunks, batches] = &mut self.lanes;
            tokio::select! {
                biased;
                changed = stop.changed() => wanted = match changed {
                    Ok(()) => wanted.max(*stop.borrow_and_update()),
                    // Nobody is left who could tell: as if told to drain.
                    Err(_) => Stop::Drain.max(wanted),
                },
                Some(done) = self.work.join_next() => self.settle(done),
                Some(_) = self.recovery.join_next() => {}
                polled = calls.polled() => self.take(CALLS, polled).await,
                polled = chunks.polled() => self.take(CHUNKS, polled).await,
                polled = batches.polled() => self.take(BATCHES, polled).await,
                () = self.shared.demand.has_room_again(), if working => {}
                () = over(&mut grace), if self.shared.phases.now() == Phase::Drain => {
                    self.shared.phases.advance(Phase::HandBack);
                }
                () = self.shared.seams.clock.sleep(DELETE_WITHIN), if !self.finished.is_empty() => {
                    self.delete_finished();
                }
            }
            if self.finished.len() >= limits::QUEUE_BATCH_MAX {
                self.delete_finished();
            }
        }
        self.last_polls().await;
        self.delete_finished();
        while self.deletions.join_next().await.is_some() {}
    }

    /// Begins whatever receive there is room for. Every message taken is a lease that runs: none is taken ahead, but the
    /// one that gets the next slot, and ranges that take no time.
    fn poll(&mut self) {
        if !self.recovery.is_empty() {
            return;
        }
        let shared = &self.shared;
        // One call is taken even when no slot is free, so that it is first in line.
        let room = match shared.slots.free() {
            0 => usize::from(!shared.slots.wanted(Class::Call)),
            free => free,
        };
        self.lanes[CALLS].poll(shared, room);
        let chunks = shared.demand.room(self.held[CHUNKS], shared.config.slots);
        self.lanes[CHUNKS].poll(shared, chunks);
        self.lanes[BATCHES].poll(shared, limits::SUPERVISORS_MAX.saturating_sub(self.held[BATCHES]).min(1));
    }

    async fn take(&mut self, index: usize, polled: Polled) {
        let queue = self.lanes[index].name;
        let messages = match polled.answer {
            Ok(messages) => messages,
            Err(error) => {
                let what = format!("receive from queue `{queue}`");
                return self.shared.say(Event::RequestFailed { what, why: error.to_string() });
            }
        };
        if index == CHUNKS {
            self.shared.demand.received(messages.is_empty(), self.shared.seams.clock.monotonic());
        }
        if messages.is_empty() {
            return self.nothing_came(index).await;
        }
        self.dry_looks = 0;
        for message in messages {
            if self.shared.phases.now() != Phase::Work {
                self.lanes[index].hand_on(&self.shared, &message).await;
            } else if planted!(DeletesOwnDuplicate) && self.shared.leases[index].holds(&message) {
                let (_, lane) = self.shared.seams.queues.lanes()[index];
                let _ = lane.live.delete(&[message.receipt]).await;
            } else if let Some(read) = self.lanes[index].read(&self.shared, &message).await {
                self.begin(index, &message, polled.at, read);
            }
        }
    }

    fn begin(&mut self, index: usize, received: &Received, at: Duration, message: Message) {
        let Some(lease) = self.shared.leases[index].take(received, at) else { return };
        let shared = self.shared.clone();
        self.held[index] += 1;
        match message {
            Message::Call(call) => {
                let place = shared.slots.line_up(Class::Call);
                self.work.spawn(async move { (index, single::work(shared, place, lease, call).await) });
            }
            Message::Range(range) => {
                self.work.spawn(async move { (index, range::work(shared, lease, range).await) });
            }
            Message::Supervise(supervise) => {
                self.work.spawn(async move { (index, supervise::work(shared, lease, supervise).await) });
            }
        }
    }

    async fn nothing_came(&mut self, index: usize) {
        // A draining worker begins nothing: an hour claimed now would be one without a reconciler.
        if index != CALLS || self.shared.phases.now() != Phase::Work {
            return;
        }
        if self.shared.config.reconcile {
            let hour = self.shared.seams.now().0 / limits::RECONCILE_EVERY_MS;
            if self.reconciled_hour.replace(hour) != Some(hour) {
                self.chores.spawn(reconcile::hourly(self.shared.clone(), hour));
            }
        }
        if self.shared.config.until_dry && self.work.is_empty() && self.finished.is_empty() {
            let mut dry = true;
            for (_, lane) in self.shared.seams.queues.lanes() {
                dry &= matches!(lane.live.depth().await, Ok(depth) if depth.is_dry());
            }
            self.dry_looks = if dry { self.dry_looks + 1 } else { 0 };
        }
    }

    fn is_dry(&self) -> bool {
        // What this worker cannot read never gets dry for it.
        let dry = self.dry_looks >= DRY_LOOKS || self.lanes.iter().any(Lane::is_outdated);
        self.shared.config.until_dry && dry && self.work.is_empty()
    }

    fn settle(&mut self, done: Result<(usize, Done), tokio::task::JoinError>) {
        // A task that panicked counts as lost: its lease lapses.
        let Ok((index, done)) = done else { return };
        self.held[index] -= 1;
        if index == CHUNKS && self.held[CHUNKS] == 0 {
            self.shared.ends.ran_out();
        }
        match done {
            Done::Finished(lease) => {
                self.summary.finished += 1;
                self.streak.finished();
                self.finished.push(lease);
            }
            Done::Replaced { lease, handed_back } => {
                self.summary.handed_back += u64::from(handed_back);
                self.finished.push(lease);
            }
            Done::Left => {}
            Done::Sick(why) => {
                self.summary.handed_back += 1;
                if self.recovery.is_empty() {
                    self.streak.fell_sick();
                    self.recovery.spawn(health::recover(self.shared.clone(), self.streak.count(), why));
                }
            }
        }
    }

    /// Those of one queue in one request.
    fn delete_finished(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        while let Some(first) = finished.first() {
            let queue = first.queue().clone();
            let (these, others) = finished.into_iter().partition(|lease| Arc::ptr_eq(lease.queue(), &queue));
            finished = others;
            let shared = self.shared.clone();
            self.deletions.spawn(async move {
                if let Err(error) = queue.delete(these).await {
                    let what = "delete finished messages".to_owned();
                    shared.say(Event::RequestFailed { what, why: error.to_string() });
                }
            });
        }
        while self.deletions.try_join_next().is_some() {}
    }

    /// Receives no more. The future ends with the grace.
    fn drain(&self) -> Timer {
        let shared = self.shared.clone();
        let running = shared.config.slots - shared.slots.free();
        shared.say(Event::Draining { worker: shared.config.name.clone(), running });
        shared.phases.advance(Phase::Drain);
        Box::pin(async move { shared.seams.clock.sleep(shared.config.grace).await })
    }

    /// Only now: a receive that is cut off may take along what is handed back while the worker drains.
    async fn last_polls(&mut self) {
        let shared = self.shared.clone();
        shared.phases.advance(Phase::Drain);
        let last = join_all(self.lanes.iter_mut().map(|lane| lane.last_polled(&shared))).await;
        for (index, polled) in last.into_iter().enumerate() {
            if let Some(polled) = polled {
                self.take(index, polled).await;
            }
        }
    }
}

async fn over(grace: &mut Option<Timer>) {
    match grace {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}
