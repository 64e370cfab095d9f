//! Runs the calls of a range: lease → read chunk and log → run undecided calls on free slots → append → delete.
//!
//! A worker that dies extends its leases no more (`lease::keep`). Nobody notices the death itself: once the visibility is over,
//! the queue delivers the message of its range again, one delivery older. The next worker reads the marks of the lost worker,
//! the chunk and its log. It leaves out calls that are decided, that wait for a retry, or that left the message. The others run
//! again, also those that had ended and were not recorded yet: a range records what has ended after a third of its age, 3 s at least and
//! five minutes at most (`flush_interval`), and every 3 s once its message has come again. They run under a mark, more carefully after
//! each lost worker; what has killed too many is recorded `killed` (`quarantine`).

mod admission;
mod calls;
mod context;
mod cut;
mod give;
mod pipelined;
mod prepare;
mod put_back;
mod runner;
mod unit;
mod unstarted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::calls::CallQueue;
use self::context::{CallContext, Interruption, OpenCall};
use self::give::SplitLooks;
use self::prepare::Prepared;
use super::done::{Done, PutAside};
use super::lease::Lease;
use super::limiter::{Gate, RangeClaim};
use super::marks::{self, MarkLocation};
use super::phase::Phase;
use super::quarantine::Level;
use super::slots::Slot;
use super::{Abandoned, Shared, record};
use crate::error::Error;
use crate::event::Event;
use crate::layout::batch::Cancelled;
use crate::layout::chunk::Record;
use crate::layout::object::MarkKind;
use crate::layout::part::{self, Row};
use crate::layout::{PendingCall, RangeMessage};
use crate::limits;
use crate::model::{AttemptHistory, BatchRef, MarkId, MessageId, State};
use crate::outcomes::log::Addition;
use crate::outcomes::{Log, is_failed};
use crate::planted::planted;
use crate::seam::StoreExt as _;

pub async fn work(shared: Arc<Shared>, lease: Lease, message: RangeMessage) -> Done {
    let what = format!("work on chunk {} of batch {}", message.chunk, message.batch);
    let of = BatchRef::new(&message.app, message.batch);
    let worked = match prepare::prepare(shared.clone(), lease, message).await {
        Ok(Prepared::Done(done)) => Ok(done),
        Ok(Prepared::Ready(range)) => range.work().await,
        Err(abandoned) => Err(abandoned),
    };
    // However it ended, its claim is dropped by now.
    shared.limiter.leave(&of).await;
    worked.unwrap_or_else(|Abandoned(error)| {
        shared.emit(Event::RequestFailed { what, why: error.to_string() });
        Done::Left
    })
}

/// The work on one range.
struct Range {
    shared: Arc<Shared>,
    lease: Lease,
    message: RangeMessage,
    place: MarkLocation,
    context: Arc<CallContext>,
    log: Log,
    /// Others have calls of the chunk too.
    is_piece: bool,
    /// Its calls; shared with those who run them.
    calls: Arc<CallQueue>,
    /// Whether calls of the batch may begin here.
    gate: Arc<Gate>,
    _claim: RangeClaim,
    runners: JoinSet<()>,
    /// What is to be recorded next.
    addition: Addition,
    rows_bytes: u64,
    /// Some of them are failures.
    has_failures: bool,
    begun: Duration,
    /// Of the chunk's payloads.
    bytes: u64,
    flushed: Duration,
    /// When the log was last read.
    log_read: Duration,
    split_looks: SplitLooks,
    /// If nothing of the batch has ended here for so long, a part says that it runs.
    tell_after: Duration,
    /// Failed starts that are to be reported: how many, and why the last failed.
    start_reports: Vec<(u32, String)>,
    /// How carefully its calls run.
    level: Level,
    /// The names of loss marks that name a call.
    losses: BTreeMap<u64, Vec<MarkId>>,
    /// Marks that this delivery has written.
    marks: u32,
    /// One of them is a loss mark, should this worker be lost.
    is_marked: bool,
    /// Calls left it unfinished.
    has_given: bool,
    /// The message that has the rest of it now.
    rest: Option<MessageId>,
    /// It found no way to run its suspects here; they try again later, anywhere.
    waits_elsewhere: bool,
    cancelled: bool,
    /// Nothing new begins here, and why. What runs goes on and is recorded.
    stopped: Option<Stopped>,
    /// Why the version does not suit this worker, if it turned out so.
    mismatch: Option<String>,
}

/// Why nothing new begins under a range.
enum Stopped {
    /// Drain, the lease's hand-over, or this machine cannot run functions.
    HandOver,
    /// The version turned out not to suit this worker.
    Mismatch,
    /// The batch was paused.
    Paused,
    /// The function cannot be started here.
    NotStarted,
}

impl Range {
    async fn work(mut self) -> Result<Done, Abandoned> {
        let worked = match self.level {
            Level::Normal | Level::Among => self.run_pipelined().await,
            Level::Sole | Level::Alone => self.run_unit().await,
        };
        let finished = match worked {
            Ok(()) => self.hand_over_rest().await,
            Err(abandoned) => Err(abandoned),
        };
        if finished.is_err() {
            self.runners.shutdown().await;
        }
        // Where all is decided the message is deleted, and no mark is read again.
        if !matches!(finished, Ok(false)) {
            self.void_marks().await;
        }
        let handed_over = finished?;
        if let Some(why) = &self.mismatch {
            put_back::record_mismatch(&self.shared, &self.message, why.clone()).await;
        }
        let now = self.shared.deps.clock.monotonic();
        self.shared.prefetch.finished(self.begun, now, self.bytes);
        self.gate.note_suits(self.mismatch.is_none());
        let lease = self.lease;
        Ok(match (self.mismatch, self.rest) {
            (Some(why), Some(new_id)) => {
                let (id, wait, batch) =
                    (self.message.id, limits::MISMATCH_PUT_BACK, Some(self.message.batch));
                Done::Mismatched(PutAside { lease: Some(lease), id, new_id, batch, wait, why })
            }
            (Some(_), None) => Done::LeftToOthers(Some(lease)),
            (None, _) if handed_over || self.has_given => Done::Replaced { lease, handed_back: true },
            (None, _) => Done::Finished(lease),
        })
    }

    /// A bad record is decided without running.
    fn refuse(&mut self, refused: Vec<Record>) {
        for record in refused {
            let history = AttemptHistory::default();
            let (shared, number) = (&self.shared, record.number);
            let row = self.context.row_without_run(shared, number, State::Error, record.refused, history);
            self.push(row);
        }
    }

    fn may_begin(&self) -> bool {
        self.shared.phases.now() == Phase::Run
            && self.lease.may_begin(&self.shared)
            && !self.cancelled
            && self.stopped.is_none()
    }

    /// Gives a slot to a call, and then to whichever are next.
    fn start(&mut self, open: OpenCall, slot: Slot) {
        let (shared, context, calls) = (self.shared.clone(), self.context.clone(), self.calls.clone());
        let until = self.lease.begins_until();
        self.runners.spawn(async move { runner::run(&shared, &context, &calls, open, until, slot).await });
    }

    /// What came of a runner's end: the worker counts panics; this range ends with its call.
    fn joined(ended: Result<(), tokio::task::JoinError>) {
        if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
            std::panic::resume_unwind(panic);
        }
    }

    /// Takes in how calls ended. What ends one call changes no other.
    fn settle(&mut self) {
        let ended = self.calls.take_ended();
        self.shared.pace.record_batch(self.message.batch, ended.executions, ended.busy);
        self.addition.executions += ended.executions;
        self.addition.executions_ms += ended.busy.as_millis() as u64;
        self.note_starts(ended.executions, ended.not_started);
        for row in ended.rows {
            self.shared.emit(Event::BatchCallEnded {
                batch: self.message.batch,
                number: row.number,
                status: row.status,
                reason: row.error.clone(),
            });
            self.push(row);
        }
        let now = self.shared.deps.clock.monotonic();
        for (open, wait) in ended.retries {
            let is_short = wait <= limits::RETRY_IN_PLACE_MAX;
            match is_short && self.may_begin() {
                true => self.calls.wait(open, now + wait),
                false => self.make_pending(&open, wait),
            }
        }
        for (open, why) in ended.interrupted {
            self.calls.give_back(open);
            self.interrupted(why);
        }
    }

    /// Nothing new begins here after a call that was interrupted.
    fn interrupted(&mut self, why: Interruption) {
        match why {
            Interruption::CutOff => {}
            Interruption::Sick(why) => self.shared.health.report(why),
            Interruption::NotStored(error) => {
                let what = format!("run a call of batch {}", self.message.batch);
                self.shared.emit(Event::RequestFailed { what, why: error.to_string() });
            }
            Interruption::Mismatch(why) => {
                let (app, batch) = (self.message.app.clone(), self.message.batch);
                self.shared.emit(Event::BatchMismatched { app, batch, why: why.clone() });
                self.mismatch = Some(why);
                self.stopped = Some(Stopped::Mismatch);
            }
        }
        self.stopped.get_or_insert(Stopped::HandOver);
    }

    fn push(&mut self, row: Row) {
        self.has_failures |= is_failed(row.status);
        self.rows_bytes += row.bytes();
        self.addition.rows.push(row);
    }

    /// The wait is recorded in the log; the supervisor sends the call again when it is due.
    fn make_pending(&mut self, open: &OpenCall, wait: Duration) {
        let due = self.shared.deps.now().plus_ms(wait.as_millis() as u64);
        let pending = PendingCall { due, history: open.history };
        planted!((), PendingNotRecorded => return);
        self.addition.pending.insert(open.record.number, pending);
    }

    /// Appends what is finished, and repeats until it is known what stands. A part is written only where none is; if another worker
    /// was first, its part is read, and what it decides is left out: the first part that names a call decides it.
    async fn flush(&mut self) -> Result<(), Abandoned> {
        self.flushed = self.shared.deps.clock.monotonic();
        if self.addition.rows.is_empty() && self.addition.pending.is_empty() && !self.addition.tells {
            return Ok(());
        }
        self.addition.running = self.calls.running();
        for (operation, count) in self.shared.spent() {
            *self.addition.spent.entry(operation).or_default() += count;
        }
        let fresh = Addition { worker: self.shared.config.name.clone(), ..Addition::default() };
        let mut pieces = part::pieces(std::mem::take(&mut self.addition.rows));
        self.addition.rows = pieces.pop().unwrap_or_default();
        for rows in pieces {
            self.append(&Addition { rows, running: self.addition.running, ..fresh.clone() }).await?;
        }
        let addition = std::mem::replace(&mut self.addition, fresh);
        self.append(&addition).await?;
        self.shared.written.record(self.message.batch, &self.log);
        (self.rows_bytes, self.has_failures) = (0, false);
        let log = &self.log;
        self.calls.retain(|number| !log.decided().contains(number));
        Ok(())
    }

    async fn append(&mut self, addition: &Addition) -> Result<(), Abandoned> {
        let shared = self.shared.clone();
        let appended = loop {
            if !self.lease.may_commit(&shared) {
                return Err(Abandoned(Error::conflict("the lease on a chunk is too old to commit under")));
            }
            match self.log.append(&*shared.deps.store, addition).await {
                Ok(appended) => break appended,
                Err(error) => record::retry_or_abandon(&shared, "record outcomes", error).await?,
            }
        };
        shared.emit(Event::PartWritten {
            app: self.message.app.clone(),
            batch: self.message.batch,
            recorded: appended.recorded,
            adopted: appended.adopted,
            stood: appended.stood,
        });
        Ok(())
    }

    /// Whether the batch was cancelled or paused, and what this worker has of its limits.
    async fn look_at_batch(&mut self) {
        if self.cancelled {
            return;
        }
        if let Some(max) = self.calls.reached_failures() {
            self.stop_batch(max).await;
        }
        let of = BatchRef::new(&self.message.app, self.message.batch);
        let requests = self.shared.batches.requests(&of.app, of.batch).await;
        if let Ok(requests) = &requests {
            self.shared.limiter.update(&self.gate, &of, requests.orders).await;
        }
        if self.gate.is_lapsed() {
            // What runs stops by itself: others may take its share any moment.
            self.stopped.get_or_insert(Stopped::HandOver);
        }
        if self.gate.is_paused() {
            self.stopped.get_or_insert(Stopped::Paused);
        }
        let Ok(Some(cancelled)) = requests.map(|requests| requests.cancelled) else { return };
        self.runners.shutdown().await;
        self.settle();
        // What waits for a retry is cancelled like the rest.
        let pending = std::mem::take(&mut self.addition.pending);
        self.cancelled = true;
        let mut stopped: BTreeMap<u64, AttemptHistory> = self.calls.take_running();
        stopped.extend(pending.into_iter().map(|(number, call)| (number, call.history)));
        stopped
            .extend(self.calls.take_waiting().into_iter().map(|(number, (_, open))| (number, open.history)));
        stopped.extend(self.calls.take_todo().into_iter().map(|(number, open)| (number, open.history)));
        for (number, history) in stopped {
            let reason = Some(cancelled.reason.clone());
            let row = self.context.row_without_run(&self.shared, number, State::Cancelled, reason, history);
            self.push(row);
        }
    }

    /// Cancels the batch, of which this worker has seen as many failures as are allowed. Tried again at the next look.
    async fn stop_batch(&self, max: u64) {
        let (app, batch, worker) = (&self.message.app, self.message.batch, &self.shared.config.name);
        let reason = format!("stopped: {max} calls failed on worker {worker}, --max-failures is {max}");
        let cancelled = Cancelled { by: "max-failures".to_owned(), reason, at: self.shared.deps.now() };
        if self.shared.deps.store.put_fact(&BatchRef::new(app, batch), &cancelled).await.is_ok() {
            self.shared.batches.expire(app, batch).await;
        }
    }

    /// Writes one mark of this delivery.
    async fn mark(
        &mut self,
        kind: MarkKind,
        numbers: impl IntoIterator<Item = u64>,
    ) -> Result<(), Abandoned> {
        self.marks += 1;
        self.is_marked |= kind.names_losses();
        let id = MarkId { delivery: self.context.delivery, n: self.marks };
        marks::put(&self.shared, &self.place, id, kind, marks::runs(numbers)).await?;
        Ok(())
    }

    /// The worker outlived what it ran: its marks must not tell of a loss (N3).
    async fn void_marks(&mut self) {
        if std::mem::take(&mut self.is_marked) {
            // Tried once: without it a call runs alone that need not.
            let _ = marks::void(&self.shared, &self.place, self.context.delivery).await;
        }
    }
}
