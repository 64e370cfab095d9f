//! From a leased message to calls that may run. It reads marks, chunk and log. It leaves out calls that are decided, wait
//! for a retry or left the message, and it decides calls that cannot run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Range;
use super::calls::CallQueue;
use super::context::{CallContext, OpenCall};
use super::give::SplitLooks;
use crate::error::Error;
use crate::event::Event;
use crate::layout::batch::{Batch, Cancelled};
use crate::layout::chunk::{self, Record};
use crate::layout::object::MarkKind;
use crate::layout::part::Row;
use crate::layout::{Key, Message, RangeMessage};
use crate::limits;
use crate::model::{AttemptHistory, DeliveryId, MarkId, QueueName, State, Time, Version};
use crate::outcomes::log::Addition;
use crate::outcomes::{Chunk, Log};
use crate::planted::planted;
use crate::seam::StoreExt as _;
use crate::seam::executor::{Mismatch, Work};
use crate::seam::store::{Object, StoreError};
use crate::worker::batches::KnownBatch;
use crate::worker::definitions::Resolved;
use crate::worker::done::Done;
use crate::worker::lease::Lease;
use crate::worker::limiter::RangeClaim;
use crate::worker::marks::{self, EarlierMark, MarkLocation};
use crate::worker::prefetch::PrefetchClaim;
use crate::worker::quarantine::{self, Judgement, Level};
use crate::worker::unreadable::{Failed, read_or_reason};
use crate::worker::{Abandoned, Shared, record};

pub enum Prepared {
    Ready(Box<Range>),
    Done(Done),
}

/// Whether a message is for this worker, as far as its function can be started.
pub(super) enum StartIntake {
    Open,
    Paused,
    /// Other workers can start the function, this one cannot, and why.
    Refused(String),
}

/// A message on its way to its calls.
pub(super) struct Preparation {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    pub(super) message: RangeMessage,
    pub(super) place: MarkLocation,
    pub(super) delivery: DeliveryId,
    pub(super) snapshot: KnownBatch,
    earlier_marks: Vec<EarlierMark>,
}

pub async fn prepare(
    shared: Arc<Shared>,
    lease: Lease,
    message: RangeMessage,
) -> Result<Prepared, Abandoned> {
    let failed = Failed {
        queue: QueueName::Chunks,
        held: lease.held_receipt(),
        delivery: lease.delivery,
        id: message.id,
        batch: Some(message.batch),
        what: format!("read what chunk {} of batch {} needs", message.chunk, message.batch),
    };
    let copy = message.clone();
    match read(&shared, lease, message).await {
        Err(Abandoned(error)) => {
            failed.settle(&shared, error, || Message::Range(copy)).await.map(Prepared::Done)
        }
        prepared => prepared,
    }
}

async fn read(shared: &Arc<Shared>, lease: Lease, message: RangeMessage) -> Result<Prepared, Abandoned> {
    let (app, batch) = (message.app.clone(), message.batch);
    let what = format!("look at batch {batch}");
    let look = || shared.batches.snapshot(&app, batch);
    let Some(snapshot) = record::until_answered(shared, &what, look).await? else {
        return Ok(Prepared::Done(Done::Finished(lease)));
    };
    if snapshot.over || !snapshot.belongs(message.chunk) {
        return Ok(Prepared::Done(Done::Finished(lease)));
    }
    let place = MarkLocation::Chunk(app, batch, message.chunk);
    let delivery = DeliveryId { message: message.id, delivery: lease.delivery };
    let earlier_marks = marks::of_earlier_deliveries(shared, &place, delivery).await?;
    let preparation = Preparation {
        shared: shared.clone(),
        lease,
        message,
        place: place.clone(),
        delivery,
        snapshot,
        earlier_marks,
    };
    let prepared = preparation.prepare().await;
    if prepared.is_err() && delivery.delivery > 1 {
        // Nobody was lost while reading: a mark of this delivery must not tell so. Tried once.
        let _ = marks::void(shared, &place, delivery).await;
    }
    prepared
}

impl Preparation {
    async fn prepare(mut self) -> Result<Prepared, Abandoned> {
        if let Some(cancelled) = self.snapshot.cancelled.clone() {
            return self.cancel(&cancelled).await.map(Prepared::Done);
        }
        let (app, batch) = (&self.message.app, &self.snapshot.batch);
        let resolved = self.shared.definitions.resolve(app, &batch.function, &batch.version).await;
        let resolved = match read_or_reason(resolved, "function", self.lease.delivery)? {
            Ok(resolved) => resolved,
            Err(reason) => return self.decide_unread(State::Error, reason).await.map(Prepared::Done),
        };
        if let Resolved::Ready(version, _) = &resolved {
            if !self.shared.executor.serves(&self.work_of(version)) {
                return self.leave_to_others("it is for other workers".to_owned()).await.map(Prepared::Done);
            }
            if let Err(mismatch) = self.suits(version) {
                return self.put_back_mismatched(mismatch).await.map(Prepared::Done);
            }
            match self.start_intake(version.limits.timeout_ms).await? {
                StartIntake::Open => {}
                StartIntake::Paused => return self.put_back_paused().await.map(Prepared::Done),
                StartIntake::Refused(why) => {
                    return self.put_back_mismatched(Mismatch(why)).await.map(Prepared::Done);
                }
            }
        }
        let Some(claim) = self.claim_range().await else {
            return self.wait_for_share().await.map(Prepared::Done);
        };
        if self.cut().await? {
            return Ok(Prepared::Done(Done::Replaced { lease: self.lease, handed_back: false }));
        }
        if let Some(reason) = self.mark_reading_or_give_up().await? {
            return self.decide_unread(State::Error, reason).await.map(Prepared::Done);
        }
        let key = Key::Chunk(self.message.app.clone(), self.message.batch, self.message.chunk);
        let found = self.shared.deps.store.find(&key, limits::CHUNK_OBJECT_BYTES_MAX).await;
        let records = found.map_err(Error::from).and_then(|object| {
            let decode = |object: Object| Ok((chunk::decode(&key, object.body)?, object.info.modified_at));
            object.map(decode).transpose()
        });
        let (records, created_at) = match read_or_reason(records, "chunk", self.lease.delivery)? {
            Ok(Some(read)) => read,
            // A chunk is stored before its message is sent and deleted after the batch was over.
            Ok(None) => return Ok(Prepared::Done(Done::Finished(self.lease))),
            Err(reason) => return self.decide_unread(State::Error, reason).await.map(Prepared::Done),
        };
        let log = self.open_log().await?;
        let (version, definition) = match resolved {
            Resolved::Ready(version, definition) => (version, definition),
            Resolved::Gone(reason) => {
                return self.decide(log, created_at, State::Error, reason).await.map(Prepared::Done);
            }
        };
        let context = Arc::new(CallContext {
            app: self.message.app.clone(),
            batch_id: self.message.batch,
            batch: self.snapshot.batch.clone(),
            version,
            definition,
            created_at,
            delivery: self.delivery,
            worker: self.shared.config.name.as_str().into(),
            worker_version: env!("CARGO_PKG_VERSION").into(),
        });
        self.range(context, log, records, claim).await
    }

    fn work_of<'a>(&'a self, version: &'a Version) -> Work<'a> {
        let (app, function) = (&self.message.app, &self.snapshot.batch.function);
        Work { app, function, version, batch: Some(self.message.batch) }
    }

    /// Whether this worker can run the version, and read the payloads.
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        // First: what else this worker may do, it may do for the batches that it accepts.
        self.shared.executor.accepts(&self.work_of(version))?;
        match &self.snapshot.batch.fetch {
            Some(fetch) => self.shared.data_buckets.check(&fetch.bucket),
            None => Ok(()),
        }
    }

    /// From the third delivery on (two lost workers may have had another reason), writes a `Reading` mark before the objects are
    /// read, unless an earlier delivery left another mark: then they could be read. Returns the reason to give up once too many
    /// workers were lost while they read.
    async fn mark_reading_or_give_up(&self) -> Result<Option<String>, Abandoned> {
        // Calls may leave a message before its objects are read.
        let is_neutral = |mark: &EarlierMark| matches!(mark.kind, MarkKind::Reading | MarkKind::Given);
        if self.lease.delivery < 3 || !self.earlier_marks.iter().all(is_neutral) {
            return Ok(None);
        }
        let reading = self.earlier_marks.iter().filter(|mark| mark.kind == MarkKind::Reading);
        let workers = reading.count();
        if workers >= limits::READING_LOSSES_MAX {
            return Ok(Some(format!(
                "its chunk could not be read, {workers} workers were lost while reading it"
            )));
        }
        let id = MarkId { delivery: self.delivery, n: 0 };
        marks::put(&self.shared, &self.place, id, MarkKind::Reading, Vec::new()).await?;
        Ok(None)
    }

    pub(super) async fn open_log(&self) -> Result<Log, Abandoned> {
        let last = planted!(self.message.chunk, LogPerRange => self.message.calls.last().unwrap_or(self.message.chunk));
        let chunk = Chunk::of(&self.message.app, self.message.batch, &self.snapshot.batch, last);
        // Calls of a first delivery that were never tried are nobody else's, unless their message was sent twice.
        let is_new = self.lease.delivery == 1 && self.message.calls.iter().all(|run| run.value.attempts == 0);
        match self.shared.written.recent(self.message.batch, last) {
            Some(mut log) if is_new => {
                log.probe(&*self.shared.deps.store).await?;
                Ok(log)
            }
            None if is_new && !self.message.again => Ok(Log::fresh(chunk)),
            _ => Ok(Log::open(&*self.shared.deps.store, chunk).await?),
        }
    }

    /// Decides all calls of the message without reading its chunk.
    pub(super) async fn decide_unread(self, status: State, reason: String) -> Result<Done, Abandoned> {
        let key = Key::Chunk(self.message.app.clone(), self.message.batch, self.message.chunk);
        let created_at = match self.shared.deps.store.head(&key).await {
            Ok(info) => info.modified_at,
            Err(StoreError::NotFound) => return Ok(Done::Finished(self.lease)),
            Err(error) => return Err(error.into()),
        };
        let log = self.open_log().await?;
        self.decide(log, created_at, status, reason).await
    }

    /// Decides all calls of the message without running them.
    async fn decide(
        self,
        mut log: Log,
        created_at: Time,
        status: State,
        reason: String,
    ) -> Result<Done, Abandoned> {
        let now = self.shared.deps.now();
        let worker: Arc<str> = self.shared.config.name.as_str().into();
        let mut addition = Addition { worker: worker.to_string(), ..Addition::default() };
        for run in self.message.calls.iter() {
            for number in (run.first..=run.last).filter(|number| !log.decided().contains(*number)) {
                let row =
                    Row::without_run(number, status, Some(reason.clone()), created_at, now, worker.clone());
                addition.rows.push(Row { attempts: run.value.attempts, ..row });
            }
        }
        log.append(&*self.shared.deps.store, &addition).await?;
        self.shared.written.record(self.message.batch, &log);
        Ok(Done::Finished(self.lease))
    }

    async fn cancel(self, cancelled: &Cancelled) -> Result<Done, Abandoned> {
        self.decide_unread(State::Cancelled, cancelled.reason.clone()).await
    }

    pub(super) fn definition(&self) -> &Batch {
        &self.snapshot.batch
    }

    /// Whether a call is to be run from this message.
    pub(super) fn may_run(&self, log: &Log, number: u64, history: &AttemptHistory) -> bool {
        !self.is_given(number) && log.may_run(number, history)
    }

    /// Whether a call left this message under an earlier delivery.
    pub(super) fn is_given(&self, number: u64) -> bool {
        self.earlier_marks.iter().any(|mark| mark.kind == MarkKind::Given && mark.names(number))
    }

    /// The names of loss marks that name a call: what the message carries, and what this message's own marks say.
    pub(super) fn losses(&self) -> impl Fn(u64) -> Vec<MarkId> + use<> {
        let carried = self.message.losses.clone();
        let lost: Vec<EarlierMark> =
            self.earlier_marks.iter().filter(|mark| mark.kind.names_losses()).cloned().collect();
        move |number| {
            let known = carried.get(number).cloned().unwrap_or_default();
            let found = lost.iter().filter(|mark| mark.names(number)).map(|mark| mark.id);
            quarantine::more_losses(known, found)
        }
    }

    /// Puts the range together. Suspects that lie among calls that are none leave in messages of their own.
    async fn range(
        self,
        context: Arc<CallContext>,
        log: Log,
        records: Vec<Record>,
        claim: RangeClaim,
    ) -> Result<Prepared, Abandoned> {
        let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
        let (in_chunk, mut in_message) = (records.len(), 0);
        let (mut refused, mut todo) = (Vec::new(), BTreeMap::new());
        for record in records {
            let number = record.number;
            let Some(history) = self.message.calls.get(number).copied() else { continue };
            in_message += 1;
            if !self.may_run(&log, number, &history) {
                continue;
            }
            match record.refused.is_some() {
                true => refused.push(record),
                false => drop(todo.insert(number, OpenCall { record, history, permit: None })),
            }
        }
        let names = self.losses();
        let mut losses = BTreeMap::new();
        let mut condemned = Vec::new();
        for number in todo.keys().copied().collect::<Vec<_>>() {
            match quarantine::judge(&self.shared, &self.place, names(number), Some(number)).await? {
                Judgement::Runs(marks) if marks.is_empty() => {}
                Judgement::Runs(marks) => drop(losses.insert(number, marks)),
                Judgement::Condemned(reason) => {
                    let history = todo.remove(&number).map(|open| open.history).unwrap_or_default();
                    condemned.push((number, history, reason));
                }
            }
        }
        let knows_of_failed_starts = self.snapshot.has_unsuited();
        let Preparation { shared, lease, message, place, .. } = self;
        let is_mean_known = shared.pace.mean_of_batch(message.batch).is_some() || message.mean_ms.is_some();
        let split_looks = SplitLooks::new(&*shared.deps.rng, is_mean_known);
        let tell_after = split_looks.stretch(if knows_of_failed_starts {
            limits::RUN_TOLD_SOON
        } else {
            limits::RUN_TOLD
        });
        if lease.delivery > 1 {
            shared.emit(Event::RangeRedelivered {
                app: message.app.clone(),
                batch: message.batch,
                first: message.calls.first().unwrap_or_default(),
                last: message.calls.last().unwrap_or_default(),
                delivery: lease.delivery,
                suspects: losses.len() as u64,
            });
        }
        let now = shared.deps.clock.monotonic();
        let (gate, brake) =
            (shared.limiter.gate(message.batch), shared.failures.brake(message.batch, &context.batch));
        let claims = PrefetchClaim::new(shared.prefetch.clone());
        let calls = CallQueue::new(todo, claims, gate.clone(), brake);
        calls.watch();
        let addition = Addition { worker: shared.config.name.clone(), ..Addition::default() };
        let mut range = Range {
            lease,
            message,
            place,
            context,
            log,
            is_piece: in_message < in_chunk,
            calls,
            gate,
            _claim: claim,
            runners: JoinSet::new(),
            addition,
            rows_bytes: 0,
            has_failures: false,
            begun: now,
            bytes,
            flushed: now,
            log_read: now,
            split_looks,
            tell_after,
            start_reports: Vec::new(),
            level: Level::Normal,
            losses,
            marks: 0,
            is_marked: false,
            has_given: false,
            rest: None,
            waits_elsewhere: false,
            cancelled: false,
            stopped: None,
            mismatch: None,
            shared,
        };
        if range.is_piece {
            range.log.share();
        }
        range.refuse(refused);
        for (number, history, reason) in condemned {
            range.condemn(number, history, reason);
        }
        range.separate_suspects().await?;
        Ok(Prepared::Ready(Box::new(range)))
    }
}

impl Range {
    fn condemn(&mut self, number: u64, history: AttemptHistory, reason: String) {
        let row = self.context.row_without_run(&self.shared, number, State::Killed, Some(reason), history);
        self.push(row);
    }

    /// A range runs at one level. Calls at `Sole` or `Alone` are sent away, one message for each unit. If the message is exactly one unit,
    /// it runs here.
    async fn separate_suspects(&mut self) -> Result<(), Abandoned> {
        let delivery = self.lease.delivery;
        let level = |losses: usize| Level::of(losses, delivery > 1 || self.message.lost_before);
        let todo = self.calls.take_todo();
        let level_of = |number: &u64| level(self.losses.get(number).map_or(0, Vec::len));
        let suspects: BTreeMap<u64, AttemptHistory> = todo
            .iter()
            .filter(|(number, _)| level_of(number).is_suspect())
            .map(|(number, open)| (*number, open.history))
            .collect();
        self.level = level(0);
        let mut units: Vec<(Level, BTreeMap<u64, AttemptHistory>)> = Vec::new();
        for (number, history) in suspects {
            let (its, most) = (level_of(&number), self.unit_calls(level_of(&number)));
            match units.last_mut() {
                Some((unit, calls)) if *unit == its && calls.len() < most => {
                    calls.insert(number, history);
                }
                _ => units.push((its, BTreeMap::from([(number, history)]))),
            }
        }
        let is_unit = units.len() == 1 && units[0].1.len() == todo.len();
        todo.into_values().for_each(|open| self.calls.give_back(open));
        if is_unit {
            self.level = units[0].0;
            // It waits for its turn, and free slots are for others meanwhile.
            self.calls.claim_nothing();
            return Ok(());
        }
        if units.is_empty() {
            return Ok(());
        }
        let units: Vec<_> = units.into_iter().map(|(_, calls)| calls).collect();
        let gone: BTreeSet<u64> = units.iter().flat_map(|unit| unit.keys().copied()).collect();
        self.give_units(units).await?;
        self.calls.retain(|number| !gone.contains(&number));
        self.has_given = true;
        if !self.calls.has_begun_all() {
            self.mark(MarkKind::Given, gone).await?;
        }
        Ok(())
    }

    /// At `Sole`, as many calls as take [`limits::UNIT`] on one slot, or one if the log has no mean. At `Alone`, one.
    fn unit_calls(&self, level: Level) -> usize {
        let mean_ms = self.log.mean_ms().filter(|_| level == Level::Sole);
        let calls = mean_ms.map_or(1, |mean_ms| limits::ms(limits::UNIT) / mean_ms.max(1));
        calls.clamp(1, limits::CHUNK_CALLS_MAX) as usize
    }
}
