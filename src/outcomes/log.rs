//! The append-only log of a chunk, a row of parts. A writer remembers what every part below its position decides (H1). It
//! PUTs the next part only if that part does not exist. Otherwise it reads the stored log, even if it wrote that part
//! itself (H2).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::layout::batch::Batch;
use crate::layout::decided::Decided;
use crate::layout::footer::{self, END_BYTES, Footer, Writer};
use crate::layout::part::{self, Row};
use crate::layout::table::{TableEnd, end_of};
use crate::layout::{Key, PendingCall, key};
use crate::model::{AppName, AttemptHistory, BatchId, FunctionName, Route, State, VersionId};
use crate::planted::planted;
use crate::seam::Store;
use crate::seam::StoreExt as _;
use crate::seam::store::{ByteRange, List, PutObject, StoreError};

/// Which log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub app: AppName,
    pub function: FunctionName,
    pub route: Route,
    pub version: VersionId,
    pub batch: BatchId,
    /// The chunk's last number.
    pub last: u64,
}

impl Chunk {
    pub fn of(app: &AppName, id: BatchId, batch: &Batch, last: u64) -> Chunk {
        Chunk {
            app: app.clone(),
            function: batch.function.clone(),
            route: batch.route.clone(),
            version: batch.version.clone(),
            batch: id,
            last,
        }
    }
}

/// A position in a log and all that is known of what lies below it. Belongs to one lease: two ranges of one chunk
/// on the same worker do not share a `Log`.
#[derive(Debug, Clone)]
pub struct Log {
    chunk: Chunk,
    /// The next part to be written, as far as is known.
    position: u64,
    decided: Decided,
    counts: BTreeMap<State, u64>,
    requests: BTreeMap<String, u64>,
    run_ms: u64,
    /// Calls that wait for a retry; none of them is decided.
    pending: BTreeMap<u64, PendingCall>,
    executions: u64,
    executions_ms: u64,
    started: bool,
    worker: Option<String>,
    /// Others write to it too, so the next position is looked at before it is written.
    is_shared: bool,
}

/// What is to be added to a log.
#[derive(Debug, Clone, Default)]
pub struct Addition {
    /// Outcomes.
    pub rows: Vec<Row>,
    /// Calls that wait for a retry, each once.
    pub pending: BTreeMap<u64, PendingCall>,
    /// Requests spent since the last append, by operation.
    pub spent: BTreeMap<String, u64>,
    /// Executions that ended since the last append, and the time on a slot that they took.
    pub executions: u64,
    pub executions_ms: u64,
    /// One of them was started, or a call that runs.
    pub started: bool,
    /// Calls that run at present.
    pub running: u64,
    /// A part is written even if it has nothing to record.
    pub tells: bool,
    /// Who adds it.
    pub worker: String,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows that this append recorded.
    pub recorded: u64,
    /// Rows whose calls were decided by somebody else, or by ourselves when an answer was lost.
    pub adopted: u64,
    /// How often a part stood already where the next one was to be written.
    pub stood: u64,
}

impl Log {
    /// Nothing is known: for a submitter's first message to the chunk, which nobody can have worked on.
    pub fn fresh(chunk: Chunk) -> Log {
        Log {
            chunk,
            position: 0,
            decided: Decided::default(),
            counts: BTreeMap::new(),
            requests: BTreeMap::new(),
            run_ms: 0,
            pending: BTreeMap::new(),
            executions: 0,
            executions_ms: 0,
            started: false,
            worker: None,
            is_shared: false,
        }
    }

    /// Others write to it too.
    pub fn share(&mut self) {
        self.is_shared = true;
    }

    /// Reads how far the log has come.
    pub async fn open(store: &dyn Store, chunk: Chunk) -> Result<Log> {
        let mut log = Log { is_shared: true, ..Log::fresh(chunk) };
        log.catch_up(store).await?;
        Ok(log)
    }

    /// The last number of the chunk.
    pub fn last(&self) -> u64 {
        self.chunk.last
    }

    pub fn decided(&self) -> &Decided {
        &self.decided
    }

    pub fn counts(&self) -> &BTreeMap<State, u64> {
        &self.counts
    }

    /// Requests that workers have spent on this chunk.
    pub fn requests(&self) -> &BTreeMap<String, u64> {
        &self.requests
    }

    /// The function's own time of all its calls.
    pub fn run_ms(&self) -> u64 {
        self.run_ms
    }

    /// Calls that wait for a retry, by number.
    pub fn pending(&self) -> &BTreeMap<u64, PendingCall> {
        &self.pending
    }

    /// Whether a message that knows of this history may run the call: it is not decided, and the log knows of no more
    /// attempts than the message. So a message that comes again runs no call that waits for its retry, and an old retry
    /// runs none that has failed again.
    pub fn may_run(&self, number: u64, history: &AttemptHistory) -> bool {
        let waits_for_another = |pending: &PendingCall| planted!(pending.history.attempts > history.attempts, PendingRunsFromAnyMessage => false);
        !self.decided.contains(number) && !self.pending.get(&number).is_some_and(waits_for_another)
    }

    /// Executions that have ended, and the milliseconds on a slot that they took.
    pub fn executions(&self) -> (u64, u64) {
        (self.executions, self.executions_ms)
    }

    /// Whether the function of any of its calls is known to have been started.
    pub fn has_started(&self) -> bool {
        let by_itself = [State::Success, State::Timeout];
        self.started || by_itself.iter().any(|state| self.counts.get(state).is_some_and(|count| *count > 0))
    }

    /// How long an execution takes on a slot; `None` while none has ended.
    pub fn mean_ms(&self) -> Option<u64> {
        self.executions_ms.checked_div(self.executions)
    }

    /// Who wrote the last part; `None` while no part was read.
    pub fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    /// Takes in the last of so many parts, for a reader that has listed them already.
    pub async fn take_in_last(&mut self, store: &dyn Store, parts: u64) -> Result<()> {
        match parts.checked_sub(1) {
            Some(last) if parts > self.position => self.take_in(store, last).await,
            _ => Ok(()),
        }
    }

    /// Parts known.
    pub fn parts(&self) -> u64 {
        self.position
    }

    /// Takes in all parts that were written since: two requests, however many there are, since the last footer tells
    /// all (H18).
    pub async fn catch_up(&mut self, store: &dyn Store) -> Result<()> {
        let Chunk { app, batch, last, .. } = &self.chunk;
        let mut request = List::all(key::log(app, *batch, *last));
        if let Some(before) = self.position.checked_sub(1) {
            request = request.start_after(Key::Part(app.clone(), *batch, *last, before));
        }
        let mut next = self.position;
        for entry in store.list_all(request).await?.entries {
            let Key::Part(_, _, _, part) = entry.key.parse()? else {
                return Err(Error::internal(format!("`{}` lies among the parts of a log", entry.key)));
            };
            // A gap is never written into: what stood there may have been read (H14).
            if part != next {
                return Err(Error::internal(format!(
                    "part {next} of the log before `{}` is missing",
                    entry.key
                ))
                .with_hint("the log was tampered with; its batch cannot be finished"));
            }
            next += 1;
        }
        if next > self.position {
            self.take_in(store, next - 1).await?;
        }
        Ok(())
    }

    /// The same for one who expects few parts, or none. Looks at the next position, and further on by growing steps: a list, or a
    /// refused PUT, costs as much as a dozen such looks.
    pub async fn probe(&mut self, store: &dyn Store) -> Result<()> {
        let (app, batch, last) = (self.chunk.app.clone(), self.chunk.batch, self.chunk.last);
        let exists = async |part: u64| store.exists(&Key::Part(app.clone(), batch, last, part)).await;
        let (first, mut step) = (self.position, 1);
        // All parts below `first + there` are there; the one at `first + gone` is not.
        let (mut there, mut gone) = (0, 0);
        while exists(first + gone).await? {
            there = gone + 1;
            gone += step;
            step *= 2;
        }
        while there < gone {
            let middle = there + (gone - there) / 2;
            match exists(first + middle).await? {
                true => there = middle + 1,
                false => gone = middle,
            }
        }
        match there {
            0 => Ok(()),
            _ => self.take_in(store, first + there - 1).await,
        }
    }

    /// Reads one part's footer, which tells all below it too.
    async fn take_in(&mut self, store: &dyn Store, part: u64) -> Result<()> {
        let Chunk { app, batch, last, .. } = &self.chunk;
        let key = Key::Part(app.clone(), *batch, *last, part);
        let mut bytes = END_BYTES;
        let end = loop {
            let end = store.get(&key, ByteRange::Last(bytes)).await?;
            match end_of(&key, &end.body)? {
                TableEnd::Complete(end) => break end,
                TableEnd::Needs(needed) if needed as u64 > bytes => bytes = needed as u64,
                TableEnd::Needs(_) => return Err(Error::internal(format!("object `{key}` is cut short"))),
            }
        };
        let footer = Footer::decode(&key, &end.footer()?)?;
        if (footer.batch, footer.last) != (*batch, *last) {
            return Err(Error::internal(format!("the footer of `{key}` is of another chunk")));
        }
        if self.decided.runs().any(|(first, last, _)| !footer.decided.covers(first..=last)) {
            return Err(Error::internal(format!("the footer of `{key}` forgets what parts below it decide")));
        }
        self.position = part + 1;
        self.decided = footer.decided;
        self.counts = footer.counts;
        self.requests = footer.requests;
        self.run_ms = footer.run_ms;
        self.pending = footer.pending.into();
        self.pending.retain(|number, _| !self.decided.contains(*number));
        self.executions = footer.executions;
        self.executions_ms = footer.executions_ms;
        self.started = footer.started;
        self.worker = footer.writer.map(|writer| writer.worker).or_else(|| end.greatest("worker"));
        Ok(())
    }

    /// Records those of these outcomes and retries whose calls are not decided yet. On an error nothing is known: they may
    /// be recorded or not, and are to be appended again.
    pub async fn append(&mut self, store: &dyn Store, addition: &Addition) -> Result<Appended> {
        let rows = &addition.rows;
        let mut stood = 0;
        if self.is_shared {
            planted!(self.probe(store).await?, AppendedWithoutCatchingUp => ());
        }
        loop {
            let decided = |row: &Row| {
                planted!(
                    self.decided.contains(row.number),
                    ForgetsDecidedSet => self.decided.part(row.number).is_some_and(|part| part + 1 == self.position)
                )
            };
            let open: Cow<'_, [Row]> = match rows.iter().any(decided) {
                true => rows.iter().filter(|row| !decided(row)).cloned().collect(),
                false => rows.as_slice().into(),
            };
            let after = self.with(&open, addition);
            if open.is_empty() && after.pending == self.pending && !addition.tells {
                return Ok(Appended { recorded: 0, adopted: rows.len() as u64, stood });
            }
            let file = part::encode(self.chunk.batch, &open, &after.footer(addition.running))?;
            let Chunk { app, batch, last, .. } = &self.chunk;
            let key = Key::Part(app.clone(), *batch, *last, self.position);
            let object = PutObject::create(file).content_type("application/vnd.apache.parquet");
            match store.put(&key, object).await {
                Ok(_) => {
                    *self = after;
                    let recorded = open.len() as u64;
                    return Ok(Appended { recorded, adopted: rows.len() as u64 - recorded, stood });
                }
                Err(StoreError::Exists) => {
                    stood += 1;
                    self.is_shared = true;
                    let before = self.position;
                    planted!(self.probe(store).await?, AppendedWithoutCatchingUp => self.position += 1);
                    planted!((), WriterIdentity => if crate::planted::is_of_same_writer(self, rows) {
                        return Ok(Appended { recorded: rows.len() as u64, adopted: 0, stood });
                    });
                    if self.position <= before {
                        return Err(Error::internal(format!("`{key}` was there and is gone")));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// This log with one more part of these rows.
    fn with(&self, rows: &[Row], addition: &Addition) -> Log {
        let mut after = self.clone();
        for row in rows {
            after.decided.insert(row.number, self.position);
            *after.counts.entry(row.status).or_default() += 1;
            after.run_ms += row.run_ms;
        }
        for (operation, count) in &addition.spent {
            *after.requests.entry(operation.clone()).or_default() += count;
        }
        for (number, call) in &addition.pending {
            let known = after.pending.get(number);
            // At equal attempts what is stored stands: a message for it may be on its way.
            if known.is_none_or(|known| known.history.attempts < call.history.attempts) {
                after.pending.insert(*number, *call);
            }
        }
        let decided = &after.decided;
        planted!(after.pending.retain(|number, _| !decided.contains(*number)), PendingOverDecided => ());
        after.executions += addition.executions;
        after.executions_ms += addition.executions_ms;
        after.started |= addition.started;
        after.worker = Some(addition.worker.clone());
        after.position += 1;
        after
    }

    /// `running`: calls that run at its writer.
    fn footer(&self, running: u64) -> Footer {
        let Chunk { app, function, route, version, batch, last } = self.chunk.clone();
        Footer {
            v: footer::VERSION,
            app,
            function,
            route,
            version,
            batch,
            last,
            decided: self.decided.clone(),
            counts: self.counts.clone(),
            requests: self.requests.clone(),
            run_ms: self.run_ms,
            pending: self.pending.iter().map(|(number, call)| (*number, *call)).collect(),
            executions: self.executions,
            executions_ms: self.executions_ms,
            started: self.started,
            writer: self.worker.clone().map(|worker| Writer { worker, running }),
        }
    }
}

#[cfg(test)]
mod tests;
