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
    async fn probe(&mut self, store: &dyn Store) -> Result<()> {
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
            if open.is_empty() && after.pending == self.pending {
                return Ok(Appended { recorded: 0, adopted: rows.len() as u64, stood });
            }
            let file = part::encode(self.chunk.batch, &open, &after.footer())?;
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
        after.worker = Some(addition.worker.clone());
        after.position += 1;
        after
    }

    fn footer(&self) -> Footer {
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
            writer: self.worker.clone().map(|worker| Writer { worker }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::memory::MemoryStore;
    use crate::layout::part::{Part, RowResult};
    use crate::model::Time;
    use crate::seam::clock::SystemClock;

    fn chunk() -> Chunk {
        Chunk {
            app: "app".parse().unwrap(),
            function: "fn".parse().unwrap(),
            route: "/fn".parse().unwrap(),
            version: "0.0.1-000000000000".parse().unwrap(),
            batch: BatchId::new(Time(1_700_000_000_000), 1),
            last: 64,
        }
    }

    fn rows(numbers: impl IntoIterator<Item = u64>, who: &str) -> Vec<Row> {
        let row = |number| Row {
            number,
            status: State::Success,
            attempts: 1,
            created_at: Time(1),
            queued_ms: 0,
            start_ms: 0,
            run_ms: 1,
            started_at: None,
            completed_at: Time(2),
            content_type: None,
            result: RowResult::None,
            error: None,
            log: None,
            worker: who.into(),
            worker_version: "".into(),
        };
        numbers.into_iter().map(row).collect()
    }

    fn addition(numbers: impl IntoIterator<Item = u64>, who: &str) -> Addition {
        Addition { rows: rows(numbers, who), worker: who.to_owned(), ..Addition::default() }
    }

    async fn who_decided(store: &MemoryStore) -> BTreeMap<u64, Vec<String>> {
        let mut decided: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let listed = store.list_all(List::all(key::log(&chunk().app, chunk().batch, 64))).await.unwrap();
        for entry in listed.entries {
            let body = store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await.unwrap().body;
            for row in Part::open(&entry.key, body).unwrap().all_rows().unwrap() {
                decided.entry(row.number).or_default().push(row.worker.to_string());
            }
        }
        decided
    }

    /// H1: a writer that passes a part must go on remembering what that part decides.
    #[tokio::test]
    async fn what_was_passed_is_not_decided_again() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let (mut b, mut c) = (Log::fresh(chunk()), Log::fresh(chunk()));
        let spent = BTreeMap::from([("put".to_owned(), 2)]);
        b.append(&store, &Addition { spent: spent.clone(), ..addition([3, 4], "b") }).await.unwrap();
        let first = c.append(&store, &Addition { spent, ..addition([1, 2], "c") }).await.unwrap();
        assert_eq!(first, Appended { recorded: 2, adopted: 0, stood: 1 });
        let second = c.append(&store, &addition([3, 4], "c")).await.unwrap();
        assert_eq!(second, Appended { recorded: 0, adopted: 2, stood: 0 });
        let decided = who_decided(&store).await;
        assert!(decided.values().all(|by| by.len() == 1), "{decided:?}");
        let open = Log::open(&store, chunk()).await.unwrap();
        assert_eq!((open.parts(), open.decided().len(), open.counts[&State::Success]), (2, 4, 4));
        assert_eq!((open.requests["put"], open.run_ms, open.worker()), (4, 4, Some("c")));
    }

    #[tokio::test]
    async fn many_writers_leave_each_call_one_outcome() {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8u64 {
            let store = store.clone();
            writers.spawn(async move {
                let mut log = Log::fresh(chunk());
                for step in 0..8 {
                    let numbers = (0..16).map(|n| (writer * 7 + step * 8 + n) % 64 + 1);
                    let numbers = numbers.collect::<std::collections::BTreeSet<_>>();
                    log.append(&*store, &addition(numbers, &writer.to_string())).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        let decided = who_decided(&store).await;
        assert_eq!(decided.len(), 64);
        assert!(decided.values().all(|by| by.len() == 1), "{decided:?}");
        assert!(Log::open(&*store, chunk()).await.unwrap().decided().covers(1..=64));
    }

    #[tokio::test]
    async fn a_gap_stops_everything() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let mut log = Log::fresh(chunk());
        for number in 1..=3 {
            log.append(&store, &addition([number], "a")).await.unwrap();
        }
        let gone = Key::Part(chunk().app, chunk().batch, 64, 1);
        store.delete(&[gone]).await.unwrap();
        let error = Log::open(&store, chunk()).await.unwrap_err();
        assert!(error.message().starts_with("part 1 of the log"), "{error}");
    }

    fn pending(number: u64, due: u64, attempts: u32) -> BTreeMap<u64, PendingCall> {
        let history = AttemptHistory { attempts, failures: attempts, start_failures: 0 };
        BTreeMap::from([(number, PendingCall { due: Time(due), history })])
    }

    #[tokio::test]
    async fn a_pending_call_keeps_its_attempts_and_ends_with_its_outcome() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let (mut a, mut b) = (Log::fresh(chunk()), Log::fresh(chunk()));
        let waits = |pending| Addition { pending, worker: "w".to_owned(), ..Addition::default() };
        a.append(&store, &waits(pending(5, 10, 1))).await.unwrap();
        assert_eq!((a.parts(), a.pending()[&5].due), (1, Time(10)));
        // The same again writes nothing, and what is stored stands.
        a.append(&store, &waits(pending(5, 99, 1))).await.unwrap();
        assert_eq!((a.parts(), a.pending()[&5].due), (1, Time(10)));
        // Another writer knows of a second attempt.
        b.append(&store, &waits(pending(5, 20, 2))).await.unwrap();
        assert_eq!((b.parts(), b.pending()[&5].history.attempts), (2, 2));
        a.append(&store, &waits(pending(5, 30, 1))).await.unwrap();
        let open = Log::open(&store, chunk()).await.unwrap();
        assert_eq!(open.pending(), &pending(5, 20, 2));
        let of = |attempts| AttemptHistory { attempts, ..AttemptHistory::default() };
        assert!(open.may_run(5, &of(2)) && !open.may_run(5, &of(1)) && open.may_run(6, &of(0)));
        // Decided: never pending again.
        b.append(&store, &addition([5], "b")).await.unwrap();
        a.append(&store, &waits(pending(5, 40, 3))).await.unwrap();
        let open = Log::open(&store, chunk()).await.unwrap();
        assert!(open.pending().is_empty() && open.decided().contains(5));
        assert_eq!(who_decided(&store).await, BTreeMap::from([(5, vec!["b".to_owned()])]));
    }
}
