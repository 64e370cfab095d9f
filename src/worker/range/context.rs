//! What all calls of a range share (function, version, batch), and how one call runs and ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::Error;
use crate::layout::Key;
use crate::layout::batch::Batch;
use crate::layout::chunk::Record;
use crate::layout::part::{Row, RowResult};
use crate::limits;
use crate::model::{AppName, AttemptHistory, AttemptId, BatchId, DeliveryId, State, Time, Version};
use crate::seam::executor::{Execution, Fault, Invocation, Mismatch, Verdict};
use crate::seam::store::PutObject;
use crate::seam::{Body, ExecutionLog, StoreError, StoreExt as _};
use crate::worker::attempt::{self, AttemptEnd, Next, Policy};
use crate::worker::data_buckets::ObjectError;
use crate::worker::definitions::Definition;
use crate::worker::limiter::Permit;
use crate::worker::outcome::{reason, status};
use crate::worker::{Shared, record};

/// What the calls of a range have in common.
pub struct CallContext {
    pub app: AppName,
    pub batch_id: BatchId,
    pub batch: Arc<Batch>,
    pub version: Arc<Version>,
    pub definition: Definition,
    /// When the chunk was accepted, by the store's clock.
    pub created_at: Time,
    pub delivery: DeliveryId,
    /// For its rows.
    pub worker: Arc<str>,
    pub worker_version: Arc<str>,
}

/// A call without an outcome.
pub struct OpenCall {
    pub record: Record,
    pub history: AttemptHistory,
    /// While it runs, if the batch had limits when it was begun.
    pub permit: Option<Permit>,
}

impl OpenCall {
    /// It does not run.
    pub fn at_rest(self) -> OpenCall {
        OpenCall { permit: None, ..self }
    }
}

/// An execution that has ended.
pub struct CallExecution {
    pub taken_at: Time,
    pub execution_log: ExecutionLog,
    pub run: Result<Execution, Fault>,
}

/// The environment variables that say where in its batch a call is. The calls of an array are numbered by their indexes, so
/// that a retry, which has some of them, gives them the same numbers.
fn place(batch: &Batch, record: &Record) -> Vec<(String, String)> {
    let Some(array) = &batch.array else {
        return vec![("AFN_NUMBER".to_owned(), record.number.to_string())];
    };
    let index = std::str::from_utf8(&record.payload).ok().and_then(|index| index.parse::<u64>().ok());
    let number = index.and_then(|index| array.range.place(index)).map_or(record.number, |place| place + 1);
    let named = array.index_env.clone().zip(index.map(|index| index.to_string()));
    let ours = [
        ("AFN_NUMBER".to_owned(), number.to_string()),
        ("AFN_COUNT".to_owned(), array.range.count().to_string()),
    ];
    ours.into_iter().chain(named).collect()
}

/// What an execution came to.
pub enum CallEnd {
    Decided(Box<Row>),
    /// Its payload is not what was submitted. It is decided without an execution.
    Unrunnable(Box<Row>),
    /// It is tried again after this wait.
    Retry(OpenCall, Duration),
    /// The execution says nothing about the call: it is for others.
    Interrupted(OpenCall, Interruption),
    /// The function could not be started, and why. What this comes to.
    NotStarted(String, Box<CallEnd>),
}

/// Why an execution says nothing about its call.
pub enum Interruption {
    /// It was stopped before it ended.
    CutOff,
    /// This machine cannot run functions now.
    Sick(String),
    /// The version does not suit this worker.
    Mismatch(String),
    /// Its payload could not be read, or its result not be stored.
    NotStored(Error),
}

impl CallContext {
    fn policy(&self) -> Policy {
        let limits = &self.version.limits;
        Policy {
            attempts_max: self.batch.attempts_max.unwrap_or(limits.attempts_max),
            backoff_ms: self.batch.retry_backoff_ms.unwrap_or(limits.retry_backoff_ms),
        }
    }

    pub fn invocation(&self, record: &Record, payload: Body, attempt: u32) -> Invocation {
        Invocation {
            app: self.app.clone(),
            app_config: self.definition.app_config.clone(),
            function: self.definition.function.clone(),
            version: self.version.clone(),
            call: self.batch_id.call(record.number),
            attempt,
            env: place(&self.batch, record),
            headers: record.all_headers(),
            content_type: record.content_type.clone().or_else(|| self.version.content_type.clone()),
            payload,
            execution_log: ExecutionLog::default(),
        }
    }

    /// The row of a call that ends without an execution to tell of.
    pub fn row_without_run(
        &self,
        shared: &Shared,
        number: u64,
        status: State,
        error: Option<String>,
        history: AttemptHistory,
    ) -> Row {
        let now = shared.deps.now();
        let row = Row::without_run(number, status, error, self.created_at, now, self.worker.clone());
        Row { attempts: history.attempts, ..row }
    }

    /// Runs a call once, from its payload on. `begins` gets the execution's log before it begins.
    pub async fn run(&self, shared: &Shared, open: OpenCall, begins: impl FnOnce(&ExecutionLog)) -> CallEnd {
        let payload = match self.payload(shared, &open.record).await {
            Ok(payload) => payload,
            Err(PayloadError::Bad(why)) => {
                let (number, history) = (open.record.number, open.history);
                let row = self.row_without_run(shared, number, State::Error, Some(why), history);
                return CallEnd::Unrunnable(Box::new(row));
            }
            Err(PayloadError::Unread(error)) => {
                return CallEnd::Interrupted(open, Interruption::NotStored(error));
            }
            Err(PayloadError::Busy(why)) => return self.read_later(shared, open, why),
            Err(PayloadError::Mismatch(why)) => {
                return CallEnd::Interrupted(open, Interruption::Mismatch(why.to_string()));
            }
        };
        let work = self.invocation(&open.record, payload, open.history.next_attempt());
        let (taken_at, execution_log) = (shared.deps.now(), work.execution_log.clone());
        begins(&execution_log);
        let run = shared.executor.run(work).await;
        self.conclude(shared, open, CallExecution { taken_at, execution_log, run }).await
    }

    /// The object gets as many tries as a function that asks for a later one. Each has repeated its requests for a minute.
    fn read_later(&self, shared: &Shared, open: OpenCall, why: String) -> CallEnd {
        let mut history = open.history;
        match attempt::next(&mut history, AttemptEnd::Busy(None), &self.policy()) {
            Next::Retry(wait) => CallEnd::Retry(OpenCall { history, ..open }, wait),
            Next::Decide | Next::HandBack => {
                let number = open.record.number;
                let row = self.row_without_run(shared, number, State::Error, Some(why), history);
                CallEnd::Unrunnable(Box::new(row))
            }
        }
    }

    /// The record's own, what lies beside the chunk because it is too big for it, or an object in a bucket of the user.
    async fn payload(&self, shared: &Shared, record: &Record) -> Result<Body, PayloadError> {
        if let Some(object) = &record.object {
            let region = self.batch.fetch.as_ref().and_then(|fetch| fetch.region.as_ref());
            return Ok(shared.data_buckets.read(object, region).await?);
        }
        let Some(sha256) = &record.input else { return Ok(record.payload.clone().into()) };
        let key = Key::Input(self.app.clone(), self.batch_id, record.number);
        let what = match shared.deps.store.stream(&key, limits::BODY_BYTES_MAX).await {
            Ok((body, _)) => {
                let read = body.sha256().map_err(|error| {
                    let what = format!("cannot read the spooled payload `{key}`: {error}");
                    PayloadError::Unread(Error::internal(what))
                })?;
                if read == *sha256 {
                    return Ok(body);
                }
                "is not what was submitted"
            }
            Err(StoreError::NotFound) => "is missing",
            Err(error) => return Err(PayloadError::Unread(error.into())),
        };
        Err(PayloadError::Bad(format!("its payload `{key}` {what}")))
    }

    /// What an execution comes to.
    pub async fn conclude(&self, shared: &Shared, open: OpenCall, execution: CallExecution) -> CallEnd {
        let CallExecution { taken_at, execution_log, run } = execution;
        let mut history = open.history;
        let next = attempt::next(&mut history, AttemptEnd::of(&run, shared.deps.now()), &self.policy());
        let number = open.record.number;
        let not_started = match &run {
            Err(Fault::Function(why)) => Some(why.clone()),
            _ => None,
        };
        let end = match (next, run) {
            (Next::Retry(wait), _) => CallEnd::Retry(OpenCall { history, ..open }, wait),
            (Next::HandBack, run) => {
                let why = match run {
                    Err(Fault::Worker(why)) => Interruption::Sick(why),
                    Err(Fault::Mismatch(mismatch)) => Interruption::Mismatch(mismatch.to_string()),
                    _ => Interruption::CutOff,
                };
                CallEnd::Interrupted(OpenCall { history, ..open }, why)
            }
            (Next::Decide, Ok(run)) => {
                match self.store_result(shared, number, history.attempts, &run).await {
                    Ok(result) => {
                        CallEnd::Decided(Box::new(self.row(shared, number, history, taken_at, run, result)))
                    }
                    Err(error) => CallEnd::Interrupted(open, Interruption::NotStored(error)),
                }
            }
            (Next::Decide, Err(fault)) => {
                let why = Some(fault.to_string());
                let mut row = self.row_without_run(shared, number, State::Error, why, history);
                row.log = end_of_log(&execution_log.take_log());
                CallEnd::Decided(Box::new(row))
            }
        };
        match not_started {
            Some(why) => CallEnd::NotStarted(why, Box::new(end)),
            None => end,
        }
    }

    /// The row of an execution that decides its call.
    pub fn row(
        &self,
        shared: &Shared,
        number: u64,
        history: AttemptHistory,
        taken_at: Time,
        run: Execution,
        result: RowResult,
    ) -> Row {
        let (status, error) = (status(&run.verdict), reason(&run, &self.version));
        let content_type = match run.verdict {
            Verdict::Success { content_type, .. } => content_type,
            Verdict::Error { .. } | Verdict::Busy { .. } | Verdict::Timeout => None,
        };
        Row {
            number,
            status,
            attempts: history.attempts,
            created_at: self.created_at,
            queued_ms: taken_at.since_ms(self.created_at),
            start_ms: run.started_at.since_ms(taken_at),
            run_ms: run.took.as_millis() as u64,
            started_at: Some(run.started_at),
            completed_at: shared.deps.now(),
            content_type,
            result,
            error,
            log: end_of_log(&run.log),
            worker: self.worker.clone(),
            worker_version: self.worker_version.clone(),
        }
    }

    /// A small result lies in its row; a large one in an object under a key that no other execution has (H16).
    async fn store_result(
        &self,
        shared: &Shared,
        number: u64,
        attempt: u32,
        run: &Execution,
    ) -> Result<RowResult, Error> {
        let Verdict::Success { body, .. } = &run.verdict else { return Ok(RowResult::None) };
        let unreadable =
            |error: std::io::Error| Error::internal(format!("cannot read a spooled result: {error}"));
        if body.len() <= limits::RESULT_INLINE_BYTES_MAX {
            return Ok(RowResult::Inline(body.to_bytes().map_err(unreadable)?));
        }
        let attempt = AttemptId { delivery: self.delivery, attempt };
        let key = Key::BatchResult(self.app.clone(), self.batch_id, number, attempt);
        let sha256 = body.sha256().map_err(unreadable)?;
        let bytes = body.len();
        record::retry_until_known(shared, "store a result", || {
            record::put_own(shared, &key, PutObject::create(body.clone()), &sha256, attempt)
        })
        .await?;
        Ok(RowResult::Stored { attempt, bytes, sha256 })
    }
}

enum PayloadError {
    /// It will never be what was submitted.
    Bad(String),
    Unread(Error),
    /// A later try may read it.
    Busy(String),
    /// Other workers may read it.
    Mismatch(Mismatch),
}

impl From<ObjectError> for PayloadError {
    fn from(error: ObjectError) -> PayloadError {
        match error {
            ObjectError::Bad(why) => PayloadError::Bad(why),
            ObjectError::Busy(why) => PayloadError::Busy(why),
            ObjectError::Unreached(error) => PayloadError::Unread(error.into()),
            ObjectError::Mismatch(mismatch) => PayloadError::Mismatch(mismatch),
        }
    }
}

fn end_of_log(log: &Bytes) -> Option<String> {
    let start = log.len().saturating_sub(limits::ROW_LOG_BYTES_MAX as usize);
    let end = String::from_utf8_lossy(&log[start..]);
    (!end.is_empty()).then(|| end.into_owned())
}
