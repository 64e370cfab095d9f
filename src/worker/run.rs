//! The main loop of a worker. It receives when a slot is free, starts leased work, deletes finished messages, stops
//! receiving while the worker is sick, and drains.

mod take;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};

use super::done::{Done, PutAside};
use super::health::{self, Streak};
use super::lease::{self, Lease};
use super::panics::{self, Panics};
use super::phase::Phase;
use super::prefetch::Capacity;
use super::receive::Receiver;
use super::slots::Class;
use super::{Shared, Summary, Worker, own_store, turns};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::limits;
use crate::model::{BatchId, PerQueue, QueueName};

/// Finished messages are deleted in one request for ten, or after this.
const DELETE_WITHIN: Duration = Duration::from_millis(100);
/// A receive of single calls is open only while a slot is free, or likely to be so within this.
const SOON: Duration = Duration::from_secs(1);
/// A worker that stops at a dry queue has seen it dry so often in a row: a queue's counts lag.
const DRY_LOOKS: u32 = 2;

pub(super) type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

struct WorkerLoop {
    shared: Arc<Shared>,
    receivers: PerQueue<Receiver>,
    /// Messages that are worked on, of all lanes; why, if the task panicked.
    work: JoinSet<(Work, Result<Done, String>)>,
    /// How many of them are of each lane.
    held: PerQueue<usize>,
    /// The batches that are supervised here.
    supervised: Vec<BatchId>,
    /// Lease keeper, reconciler.
    chores: JoinSet<()>,
    keeper: task::Id,
    deletions: JoinSet<()>,
    recovery: JoinSet<()>,
    streak: Streak,
    finished: Vec<Lease>,
    /// When the finished are to be deleted.
    delete_at: Duration,
    summary: Summary,
    dry_looks: u32,
    /// At the last of these looks: a queue, how many of its messages do not suit this worker, and why one does not.
    mismatched_at_end: Option<(QueueName, u64, String)>,
    /// A message did not suit this worker: it may be one of the last.
    looks_whether_dry: bool,
    turns: turns::Turns,
    panics: Panics,
    /// Why nothing can be received for ever.
    lost_queue: Option<Error>,
}

/// One of the messages that are worked on.
#[derive(Clone, Copy)]
struct Work {
    queue: QueueName,
    supervises: Option<BatchId>,
}

pub async fn run(worker: Worker, mut stop: watch::Receiver<Phase>) -> Result<Summary> {
    let Worker { shared } = worker;
    let name = shared.config.name.clone();
    shared.emit(Event::WorkerStarted { worker: name.clone(), slots: shared.config.slots });
    let own = tokio::select! {
        biased;
        own = own_store::find(&shared) => own?,
        // Told to stop, or left by its owner.
        _ = stop.wait_for(|wanted| *wanted != Phase::Run) => {
            shared.emit(Event::WorkerStopped { worker: name, finished: 0, handed_back: 0 });
            return Ok(Summary::default());
        }
    };
    let mut chores = JoinSet::new();
    let keeper = chores.spawn(lease::keep(shared.clone())).id();
    let mut life = WorkerLoop {
        receivers: PerQueue::new(|name| Receiver::new(&shared, name, own)),
        shared,
        work: JoinSet::new(),
        held: PerQueue::default(),
        supervised: Vec::new(),
        chores,
        keeper,
        deletions: JoinSet::new(),
        recovery: JoinSet::new(),
        streak: Streak::default(),
        finished: Vec::new(),
        delete_at: Duration::ZERO,
        summary: Summary::default(),
        dry_looks: 0,
        mismatched_at_end: None,
        looks_whether_dry: false,
        turns: turns::Turns::default(),
        panics: Panics::default(),
        lost_queue: None,
    };
    life.live(stop).await;
    let Summary { finished, handed_back } = life.summary;
    life.shared.emit(Event::WorkerStopped { worker: name, finished, handed_back });
    if let Some(error) = life.lost_queue {
        return Err(error);
    }
    if life.panics.are_too_many() {
        let error = format!(
            "the worker has stopped: {} of its tasks panicked, the limit is {}",
            life.panics.count(),
            limits::PANICS_MAX
        );
        return Err(Error::internal(error)
            .with_hint("its warnings name each panic; its messages come again when their leases end"));
    }
    if let Some((queue, count, why)) = life.mismatched_at_end {
        let error =
            format!("queue `{queue}` is not dry: it has {count} that this worker cannot work on; {why}");
        return Err(Error::conflict(error).with_hint(
            "unpause what is paused, or run a worker that can: a newer afn, or one of the other context",
        ));
    }
    Ok(life.summary)
}

impl WorkerLoop {
    async fn live(&mut self, mut stop: watch::Receiver<Phase>) {
        let mut grace: Option<Timer> = None;
        let mut wanted = *stop.borrow_and_update();
        loop {
            match wanted {
                Phase::Run
                    if self.panics.are_too_many()
                        || self.lost_queue.is_some()
                        || self.waits_for_other_workers() =>
                {
                    wanted = Phase::Drain;
                    continue;
                }
                Phase::Run => {}
                Phase::Drain if grace.is_none() => grace = Some(self.drain()),
                Phase::Drain => {}
                Phase::HandBack => self.shared.phases.advance(Phase::HandBack),
            }
            // Not before the messages that others took the place of are gone.
            if self.looks_whether_dry && self.finished.is_empty() && self.deletions.is_empty() {
                self.looks_whether_dry = false;
                self.look_whether_dry().await;
            }
            let working = self.shared.phases.now() == Phase::Run;
            if (!working && self.work.is_empty()) || (working && self.is_dry()) {
                break;
            }
            if working {
                self.poll();
            }
            let [calls, chunks, batches] = self.receivers.all_mut();
            tokio::select! {
                biased;
                changed = stop.changed() => wanted = match changed {
                    Ok(()) => wanted.max(*stop.borrow_and_update()),
                    // The owner dropped the channel.
                    Err(_) => Phase::Drain.max(wanted),
                },
                Some(done) = self.work.join_next() => self.settle(done),
                Some(ended) = self.recovery.join_next() => self.ended("recovery", ended),
                Some(ended) = self.chores.join_next_with_id() => self.chore_ended(ended),
                Some(ended) = self.deletions.join_next() => self.ended("deletion of messages", ended),
                polled = calls.polled() => self.take(QueueName::Calls, polled).await,
                polled = chunks.polled() => self.take(QueueName::Chunks, polled).await,
                polled = batches.polled() => self.take(QueueName::Batches, polled).await,
                () = self.shared.prefetch.has_room_again(), if working => {}
                () = self.shared.slots.freed(), if working => {}
                () = self.shared.calls_first.asked() => self.poll_calls_first(),
                why = self.shared.health.reported() => self.fell_sick(why),
                () = over(&mut grace), if self.shared.phases.now() == Phase::Drain => {
                    self.shared.phases.advance(Phase::HandBack);
                }
                () = sleep_until(&self.shared, self.delete_at), if !self.finished.is_empty() => {
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
        self.panics.written().await;
    }

    /// Begins whatever receive there is room for. Every message taken is a lease that runs: none is taken ahead, but what
    /// gets a slot at once, and ranges that take no time.
    fn poll(&mut self) {
        if !self.recovery.is_empty() {
            return;
        }
        let shared = &self.shared;
        let (slots, is_closed) = (shared.config.slots, shared.quarantine.is_closed());
        let wait = limits::LONG_POLL;
        let room = match shared.slots.free() {
            // Nothing may start beside a call that has the worker to itself.
            _ if is_closed => 0,
            // A slot will be free soon: the call is first in line for it.
            0 if shared.slots.wanted(Class::Call) => 0,
            0 => usize::from(shared.pace.frees_a_slot_within(SOON, slots)),
            free => free,
        };
        self.receivers[QueueName::Calls].poll(shared, room, wait);
        let capacity = Capacity {
            held: self.held[QueueName::Chunks],
            slots,
            free: shared.slots.free(),
            mean: shared.pace.mean(shared.deps.clock.monotonic()),
        };
        let chunks = if is_closed { 0 } else { shared.prefetch.room(capacity) };
        self.receivers[QueueName::Chunks].poll(shared, chunks, wait);
        let supervisors = limits::SUPERVISORS_BUSY_MAX.saturating_sub(self.held[QueueName::Batches]).min(1);
        self.receivers[QueueName::Batches].poll(shared, supervisors, wait);
    }

    /// A slot was left by a long call: single calls are asked for once before a batch's next call.
    fn poll_calls_first(&mut self) {
        let shared = &self.shared;
        let asks =
            shared.phases.now() == Phase::Run && self.recovery.is_empty() && !shared.quarantine.is_closed();
        let pauses = shared.mismatch_backoff[QueueName::Calls].is_paused();
        match asks && !pauses && !self.receivers[QueueName::Calls].is_polling() {
            true => self.receivers[QueueName::Calls].poll(shared, 1, Duration::ZERO),
            // A receive is open anyway, or none is to be made.
            false => shared.calls_first.answer(),
        }
    }

    fn reconcile(&mut self) {
        // A draining worker begins nothing: an interval claimed now would be one without a reconciler.
        if !self.shared.config.reconcile || self.shared.phases.now() != Phase::Run {
            return;
        }
        if let Some(turn) = self.turns.next(self.shared.deps.now()) {
            self.chores.spawn(turns::take_turn(self.shared.clone(), turn));
        }
    }

    async fn nothing_came(&mut self, queue: QueueName) {
        if queue == QueueName::Calls {
            self.look_whether_dry().await;
        }
    }

    async fn look_whether_dry(&mut self) {
        let looks = self.shared.config.until_dry && self.shared.phases.now() == Phase::Run;
        let supervises_only = self.held[QueueName::Calls] + self.held[QueueName::Chunks] == 0;
        if looks && supervises_only && self.finished.is_empty() {
            let now = self.shared.deps.clock.monotonic();
            // A batch without a message waits for something else, such as a retry, which can be run here later.
            let chunks = &self.receivers[QueueName::Chunks];
            let mut dry = self.supervised.iter().all(|batch| chunks.has_set_aside(*batch));
            self.mismatched_at_end = None;
            for receiver in self.receivers.all_mut() {
                let queue = receiver.name;
                dry &= receiver.is_dry(self.held[queue] as u64, now).await;
                if let (count @ 1.., Some(why)) = receiver.put_aside(now) {
                    self.mismatched_at_end.get_or_insert_with(|| (queue, count, why.to_owned()));
                }
            }
            self.dry_looks = if dry { self.dry_looks + 1 } else { 0 };
        }
    }

    /// Whether all that is left is what this worker cannot run, while it supervises batches that wait for that.
    fn waits_for_other_workers(&self) -> bool {
        self.shared.config.until_dry && self.dry_looks >= DRY_LOOKS && self.mismatched_at_end.is_some()
    }

    fn is_dry(&self) -> bool {
        self.shared.config.until_dry && self.dry_looks >= DRY_LOOKS && self.work.is_empty()
    }

    fn panicked(&mut self, what: &'static str, why: String) {
        self.panics.record(&self.shared, what, why);
    }

    fn ended(&mut self, what: &'static str, ended: Result<(), JoinError>) {
        if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
            self.panicked(what, panics::message(&*panic));
        }
    }

    fn chore_ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        if id != self.keeper {
            return self.ended("reconciler", ended.map(drop));
        }
        self.ended("keeper of leases", ended.map(drop));
        self.keeper = self.chores.spawn(lease::keep(self.shared.clone())).id();
    }

    fn settle(&mut self, done: Result<(Work, Result<Done, String>), JoinError>) {
        // Only a task that was cancelled has no answer, and none is.
        let Ok((Work { queue, supervises }, done)) = done else { return };
        self.held[queue] -= 1;
        if let Some(place) = self.supervised.iter().position(|batch| Some(*batch) == supervises) {
            self.supervised.swap_remove(place);
        }
        // What this worker cannot run leaves the queue as it was.
        if !matches!(done, Ok(Done::Mismatched(_) | Done::SetAside(_))) {
            self.dry_looks = 0;
        }
        if queue == QueueName::Chunks && self.held[QueueName::Chunks] == 0 {
            self.shared.chunk_queue_idle.ran_out();
        }
        if self.finished.is_empty() {
            self.delete_at = self.shared.deps.clock.monotonic() + DELETE_WITHIN;
        }
        let done = match done {
            Ok(done) => done,
            // What it held was dropped. The message comes back when its lease lapses, as that of a lost worker.
            Err(why) => return self.panicked(panics::task_name(queue), why),
        };
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
            Done::LeftToOthers(lease) => {
                self.finished.extend(lease);
                return self.shared.mismatch_backoff[queue].record();
            }
            Done::Left => {}
            Done::Mismatched(unsuited) => {
                self.shared.mismatch_backoff[queue].record();
                return self.set_aside(queue, unsuited, 2 * limits::MISMATCH_PAUSE_MAX);
            }
            // Counted only while nobody can receive it: another worker may send it anew.
            Done::SetAside(aside) => return self.set_aside(queue, aside, Duration::ZERO),
        }
        self.shared.mismatch_backoff[queue].reset();
    }

    fn set_aside(&mut self, queue: QueueName, aside: PutAside, pause: Duration) {
        let now = self.shared.deps.clock.monotonic();
        self.finished.extend(self.receivers[queue].set_aside(aside, pause, now));
        self.looks_whether_dry = self.shared.config.until_dry;
    }

    /// Receives nothing until this machine can run functions again.
    fn fell_sick(&mut self, why: String) {
        if self.recovery.is_empty() {
            self.streak.fell_sick();
            self.recovery.spawn(health::recover(self.shared.clone(), self.streak.count(), why));
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
                    shared.emit(Event::RequestFailed { what, why: error.to_string() });
                }
            });
        }
        while let Some(ended) = self.deletions.try_join_next() {
            self.ended("deletion of messages", ended);
        }
    }

    /// Receives no more. The future ends with the grace.
    fn drain(&self) -> Timer {
        let shared = self.shared.clone();
        let running = shared.config.slots - shared.slots.free();
        shared.emit(Event::Draining { worker: shared.config.name.clone(), running });
        shared.phases.advance(Phase::Drain);
        Box::pin(async move { shared.deps.clock.sleep(shared.config.grace).await })
    }

    /// Cancels receives last: a cancelled long poll can still consume a message that was just put back.
    async fn last_polls(&mut self) {
        let shared = self.shared.clone();
        shared.phases.advance(Phase::Drain);
        let last = join_all(self.receivers.all_mut().iter_mut().map(|lane| lane.last_polled(&shared))).await;
        for (queue, polled) in QueueName::ALL.into_iter().zip(last) {
            if let Some(polled) = polled {
                self.take(queue, polled).await;
            }
        }
    }
}

async fn sleep_until(shared: &Shared, at: Duration) {
    shared.deps.clock.sleep(at.saturating_sub(shared.deps.clock.monotonic())).await;
}

async fn over(grace: &mut Option<Timer>) {
    match grace {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}
