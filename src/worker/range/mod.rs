//! Runs a range of a chunk: lease → read chunk and log → run what is undecided on free slots → append → delete.

mod careful;
mod doomed;
mod free;
mod runner;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::doomed::Doomed;
use self::runner::Desk;
use super::batch_call::{Common, Open, Tried, Undecided};
use super::batches::Look;
use super::demand::Asking;
use super::lease::Lease;
use super::marks::{self, Suspects};
use super::phase::Phase;
use super::single::Done;
use super::slots::Slot;
use super::{Abandoned, Shared, record};
use crate::event::Event;
use crate::layout::chunk::{self, Record};
use crate::layout::part::Row;
use crate::layout::{Key, Message, RangeMessage};
use crate::limits;
use crate::model::{DeliveryId, State};
use crate::outcomes::{Chunk, Log};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::submit::send;

pub async fn work(shared: Arc<Shared>, lease: Lease, message: RangeMessage) -> Done {
    let what = format!("work on chunk {} of batch {}", message.chunk, message.batch);
    match begin(shared.clone(), lease, message).await {
        Ok(done) => done,
        Err(Abandoned(error)) => {
            shared.say(Event::RequestFailed { what, why: error.to_string() });
            Done::Left
        }
    }
}

/// The work on one range.
pub(super) struct Range {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    pub(super) message: RangeMessage,
    common: Arc<Common>,
    log: Log,
    /// Its calls; shared with those who run them.
    pub(super) desk: Arc<Desk>,
    runners: JoinSet<()>,
    rows: Vec<Row>,
    rows_bytes: u64,
    spent: BTreeMap<String, u64>,
    begun: Duration,
    /// Of the chunk's payloads.
    bytes: u64,
    flushed: Duration,
    /// When half of it was last offered to others.
    offered: Duration,
    /// Of the calls finished here: how many, and their time on a slot.
    pub(super) finished: u64,
    pub(super) busy: Duration,
    pub(super) suspects: Suspects,
    marked: bool,
    cancelled: bool,
}

async fn begin(shared: Arc<Shared>, lease: Lease, message: RangeMessage) -> Result<Done, Abandoned> {
    let (app, batch) = (message.app.clone(), message.batch);
    let Some(look) = shared.batches.look(&app, batch).await? else { return Ok(Done::Finished(lease)) };
    if look.over || !look.belongs(message.chunk) {
        return Ok(Done::Finished(lease));
    }
    let key = Key::Chunk(app.clone(), batch, message.chunk).to_string();
    // A chunk is stored before its message is sent and deleted after the batch was over.
    let Some(object) = shared.seams.store.find(&key).await? else { return Ok(Done::Finished(lease)) };
    let created_at = object.info.modified_at;
    let records = chunk::decode(&key, object.body)?;

    let its_log = if planted!(LogPerRange) { message.last } else { message.chunk };
    let chunk = Chunk::of(&app, batch, &look.batch, its_log);
    let first_time = lease.delivery == 1 && !message.again;
    let log = if first_time { Log::fresh(chunk) } else { Log::open(&*shared.seams.store, chunk).await? };
    let open = |record: &Record| {
        (message.first..=message.last).contains(&record.number) && !log.decided().contains(record.number)
    };
    let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
    let (refused, todo): (Vec<Record>, Vec<Record>) =
        records.into_iter().filter(open).partition(|record| record.refused.is_some());
    let suspects = marks::suspects(&shared, &message, lease.delivery).await?;
    let careful = lease.delivery > 1 || !suspects.is_empty();
    if lease.delivery > 1 {
        shared.say(Event::RangeRedelivered {
            app: app.clone(),
            batch,
            first: message.first,
            last: message.last,
            delivery: lease.delivery,
            suspects: suspects.len() as u64,
        });
    }
    let tried = message.tried.iter().map(|(number, attempts, failures, function_failures)| {
        let tried = Tried { attempts: *attempts, failures: *failures, function_failures: *function_failures };
        (*number, tried)
    });
    let mut tried: BTreeMap<u64, Tried> = tried.collect();
    let now = shared.seams.clock.monotonic();
    let delivery = DeliveryId { message: message.id, delivery: lease.delivery };
    let definitions = &shared.definitions;
    let batch_definition = look.batch.clone();
    let version = definitions.version(&app, &batch_definition.function, &batch_definition.version).await?;
    let definition = definitions.function(&app, &batch_definition.function).await?;
    let doomed = match (&version, &definition) {
        (None, _) => Some(format!(
            "version {} of function `{}` is missing",
            batch_definition.version, batch_definition.function
        )),
        (_, None) => {
            Some(format!("function `{}` was deleted before the call ran", batch_definition.function))
        }
        _ => None,
    };
    let unsuited = version.as_ref().and_then(|version| shared.executor.suits(version).err());
    let common = version.zip(definition).map(|(version, definition)| {
        let (app, batch) = (app.clone(), batch_definition.clone());
        Arc::new(Common {
            app,
            batch_id: message.batch,
            batch,
            version,
            definition,
            created_at,
            delivery,
            careful,
            worker: shared.config.name.as_str().into(),
            worker_version: env!("CARGO_PKG_VERSION").into(),
        })
    });
    let Some(common) = common else {
        let reason = doomed.unwrap_or_default();
        let all = refused.iter().chain(&todo).map(|record| record.number).collect();
        return Doomed { shared, lease, log, created_at }.record(all, reason).await;
    };
    let todo = todo.into_iter().map(|record| {
        let tried = tried.remove(&record.number).unwrap_or_default();
        (record.number, Open { record, tried })
    });
    let desk = Desk::new(todo.collect(), Asking::new(shared.demand.clone()));
    let mut range = Range {
        lease,
        message,
        common,
        log,
        desk,
        runners: JoinSet::new(),
        rows: Vec::new(),
        rows_bytes: 0,
        spent: BTreeMap::new(),
        begun: now,
        bytes,
        flushed: now,
        offered: now,
        finished: 0,
        busy: Duration::ZERO,
        suspects,
        marked: false,
        cancelled: false,
        shared,
    };
    if let Some(mismatch) = unsuited {
        return range.unsuited(mismatch.to_string()).await;
    }
    range.refuse(refused);
    if careful && planted!(KeepsAndHalves) {
        super::split::halve(&mut range).await;
    }
    let halt = if careful { range.carefully().await } else { range.freely().await };
    match halt {
        Ok(halt) => range.halt(halt).await,
        Err(abandoned) => {
            range.runners.shutdown().await;
            range.void_marks().await;
            Err(abandoned)
        }
    }
}

/// Why the loop over a range stopped before it was decided.
enum Halt {
    /// Drain or hand-over: what is left goes to a new message.
    HandBack,
    Sick(String),
    Mismatch(String),
}

impl Range {
    /// A bad record is decided without running.
    fn refuse(&mut self, refused: Vec<Record>) {
        for record in refused {
            let row =
                self.common.row(&self.shared, record.number, State::Error, record.refused, Tried::default());
            self.push(row);
        }
    }

    fn may_begin(&self) -> bool {
        self.shared.phases.now() == Phase::Work && self.lease.may_begin(&self.shared) && !self.cancelled
    }

    /// Gives a slot to a call, and then, unless the range is careful, to whichever are next.
    fn start(&mut self, open: Open, slot: Slot) {
        let (shared, common, desk) = (self.shared.clone(), self.common.clone(), self.desk.clone());
        let until = self.lease.begins_until();
        self.runners.spawn(async move { runner::run(&shared, &common, &desk, open, until, slot).await });
    }

    /// What came of a runner's end: one that panicked leaves its call undecided, and the range with it.
    fn joined(ended: Result<(), tokio::task::JoinError>) -> Result<(), Abandoned> {
        ended.map_err(|_| Abandoned(crate::error::Error::internal("a call's task panicked")))
    }

    /// Takes in how calls ended.
    async fn settle(&mut self) -> Result<Option<Halt>, Abandoned> {
        let mut halt = None;
        let (rows, undecided) = self.desk.take_ended();
        rows.into_iter().for_each(|row| self.count(row));
        for (open, why) in undecided {
            match why {
                Undecided::Later(delay) => self.later(open, delay).await,
                Undecided::HandBack => {
                    let attempts = open.tried.attempts.saturating_sub(1);
                    self.desk.give_back(Open { tried: Tried { attempts, ..open.tried }, ..open });
                }
                Undecided::Sick(why) => {
                    self.desk.give_back(open);
                    halt = halt.or(Some(Halt::Sick(why)));
                }
                Undecided::Mismatch(mismatch) => {
                    self.desk.give_back(Open { tried: Tried::default(), ..open });
                    halt = halt.or(Some(Halt::Mismatch(mismatch.to_string())));
                }
                Undecided::Failed(error) => return Err(Abandoned(error)),
            }
        }
        Ok(halt)
    }

    fn count(&mut self, row: Row) {
        self.finished += 1;
        self.busy += Duration::from_millis(row.run_ms + row.start_ms);
        self.shared.say(Event::BatchCallEnded { batch: self.message.batch, status: row.status });
        self.push(row);
    }

    fn push(&mut self, row: Row) {
        self.rows_bytes += row.bytes();
        self.rows.push(row);
    }

    /// Appends what is finished, and repeats until it is known what stands.
    async fn flush(&mut self) -> Result<(), Abandoned> {
        self.flushed = self.shared.seams.clock.monotonic();
        if self.rows.is_empty() {
            return Ok(());
        }
        for (operation, count) in self.shared.spent() {
            *self.spent.entry(operation).or_default() += count;
        }
        let shared = self.shared.clone();
        let appended = loop {
            if !self.lease.may_commit(&shared) {
                return Err(Abandoned(crate::error::Error::internal(
                    "the lease on a chunk is too old to commit under",
                )));
            }
            match self.log.append(&*shared.seams.store, &self.rows, &self.spent).await {
                Ok(appended) => break appended,
                Err(_) if planted!(RerenderedPart) && self.desk.todo() > 0 => return Ok(()),
                Err(error) => record::again(&shared, "record outcomes", error).await?,
            }
        };
        self.shared.say(Event::PartWritten {
            app: self.message.app.clone(),
            batch: self.message.batch,
            recorded: appended.recorded,
            adopted: appended.adopted,
            stood: appended.stood,
        });
        self.shared.written.note(self.message.batch, &self.log);
        self.rows.clear();
        self.rows_bytes = 0;
        self.spent.clear();
        let log = &self.log;
        self.desk.retain(|number| !log.decided().contains(number));
        Ok(())
    }

    async fn look_whether_cancelled(&mut self) {
        if self.cancelled {
            return;
        }
        let look = self.shared.batches.look(&self.message.app, self.message.batch).await;
        let Ok(Some(Look { cancelled: Some(cancelled), .. })) = look else { return };
        self.cancelled = true;
        self.runners.shutdown().await;
        let (rows, undecided) = self.desk.take_ended();
        rows.into_iter().for_each(|row| self.count(row));
        let mut stopped: Vec<(u64, Tried)> =
            undecided.into_iter().map(|(open, _)| (open.record.number, open.tried)).collect();
        stopped.extend(self.desk.take_running().into_iter().map(|number| (number, Tried::default())));
        stopped.extend(self.desk.take_todo().into_iter().map(|(number, open)| (number, open.tried)));
        for (number, tried) in stopped {
            let reason = Some(cancelled.reason.clone());
            let row = self.common.row(&self.shared, number, State::Cancelled, reason, tried);
            self.push(row);
        }
    }

    async fn halt(mut self, halt: Halt) -> Result<Done, Abandoned> {
        // What still runs is given up: its numbers are undecided and go on.
        self.runners.shutdown().await;
        let interrupted = match self.record_ended().await {
            Ok(interrupted) => interrupted,
            Err(abandoned) => {
                self.void_marks().await;
                return Err(abandoned);
            }
        };
        let rest = self.rest(&interrupted);
        if rest.is_none() {
            let now = self.shared.seams.clock.monotonic();
            self.shared.demand.finished(self.begun, now, self.bytes);
            return Ok(Done::Finished(self.lease));
        }
        match halt {
            Halt::HandBack => self.replace(rest, Duration::ZERO, true).await,
            Halt::Mismatch(why) => self.unsuited(why).await,
            Halt::Sick(why) => {
                if !planted!(SickMarksStand) {
                    self.void_marks().await;
                }
                if self.lease.delivery > limits::PUT_BACK_COUNT_MAX {
                    if let Done::Replaced { lease, .. } = self.replace(rest, Duration::ZERO, true).await? {
                        lease.delete().await?;
                    }
                } else {
                    self.lease.give_back(Duration::ZERO).await?;
                }
                Ok(Done::Sick(why))
            }
        }
    }

    /// Records what has ended, and says what has not.
    async fn record_ended(&mut self) -> Result<BTreeSet<u64>, Abandoned> {
        self.settle().await?;
        let interrupted = self.desk.take_running();
        self.flush().await?;
        Ok(interrupted)
    }

    /// The hull of everything not yet recorded (H13).
    fn rest(&self, interrupted: &BTreeSet<u64>) -> Option<(u64, u64)> {
        let open = interrupted.iter().copied().filter(|number| !self.log.decided().contains(*number));
        let open = open.filter(|_| !planted!(HandOverForgetsRunning));
        let numbers: BTreeSet<u64> = self.desk.numbers().into_iter().chain(open).collect();
        Some((*numbers.first()?, *numbers.last()?))
    }

    /// Sends the rest as a new message with all that is known, in place of the present one.
    async fn replace(
        mut self,
        rest: Option<(u64, u64)>,
        delay: Duration,
        handed_back: bool,
    ) -> Result<Done, Abandoned> {
        // The worker outlived what it ran.
        self.void_marks().await;
        let Some((first, last)) = rest else { return Ok(Done::Finished(self.lease)) };
        let here = |number: &u64| (first..=last).contains(number) && !self.log.decided().contains(*number);
        let message = RangeMessage {
            id: send::message_id(&self.shared.seams),
            first,
            last,
            again: true,
            suspects: self
                .suspects
                .iter()
                .filter(|(number, _)| here(number))
                .map(|(n, m)| (*n, *m))
                .collect(),
            tried: self
                .desk
                .tried()
                .into_iter()
                .filter(|(number, _)| here(number))
                .map(|(number, tried)| (number, tried.attempts, tried.failures, tried.function_failures))
                .collect(),
            ..self.message.clone()
        };
        let sent = send::send(&self.shared.seams.queues.chunks, &Message::Range(message), delay).await;
        if !planted!(AmbiguousSplitBelieved) {
            sent?;
        }
        Ok(Done::Replaced { lease: self.lease, handed_back })
    }

    async fn void_marks(&mut self) {
        if std::mem::take(&mut self.marked) {
            // Without it a call runs alone that need not.
            let _ = marks::void(&self.shared, &self.message, self.common.delivery).await;
        }
    }

    /// This version cannot run here: others get the range after a while. What lasts an hour is recorded.
    async fn unsuited(mut self, why: String) -> Result<Done, Abandoned> {
        let now = self.shared.seams.now();
        let call = self.common.batch_id.call(self.message.first);
        self.shared.say(Event::CallMismatched { app: self.message.app.clone(), call, why: why.clone() });
        let since = self.message.mismatch_since.unwrap_or(now);
        if now.since_ms(since) >= limits::MISMATCH_MS_MAX {
            for number in self.desk.take_todo().into_keys() {
                let reason = Some(format!("no worker can run it: {why}"));
                let row = self.common.row(&self.shared, number, State::Error, reason, Tried::default());
                self.push(row);
            }
            self.flush().await?;
            return Ok(Done::Finished(self.lease));
        }
        self.message.mismatch_since = Some(since);
        let rest = self.rest(&BTreeSet::new());
        let wait = super::single::spread(&self.shared, limits::PUT_BACK_MS);
        self.replace(rest, wait, false).await
    }
}
