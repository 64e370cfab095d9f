//! One call of a chunk, from its slot to its row.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::definitions::Definition;
use super::phase::Phase;
use super::single::backoff_ms;
use super::verdict::{reason, status};
use super::{Shared, record};
use crate::error::Error;
use crate::layout::Key;
use crate::layout::batch::Batch;
use crate::layout::chunk::Record;
use crate::layout::part::{Row, RowResult};
use crate::limits;
use crate::model::{AppName, AttemptId, BatchId, DeliveryId, State, Time, Version};
use crate::seam::executor::{Fault, Mismatch, Run, Verdict, Work};
use crate::seam::store::PutObject;
use crate::seam::{Body, Heard, StoreError, StoreExt as _};

/// What the calls of a range have in common.
pub struct Common {
    pub app: AppName,
    pub batch_id: BatchId,
    pub batch: Arc<Batch>,
    pub version: Arc<Version>,
    pub definition: Definition,
    /// When the chunk was accepted, by the store's clock.
    pub created_at: Time,
    pub delivery: DeliveryId,
    /// A wait that is too long to be spent in place is cut to what can be: the mark must not outlive the run.
    pub careful: bool,
    /// For its rows.
    pub worker: Arc<str>,
    pub worker_version: Arc<str>,
}

/// Executions of a call so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    pub attempts: u32,
    pub failures: u32,
    pub function_failures: u32,
}

/// How a call ended: its row, or why it has none.
pub type Ended = Result<Box<Row>, Undecided>;

pub enum Undecided {
    /// To be tried again after a wait that is too long to be spent here.
    Later(Duration),
    Sick(String),
    Mismatch(Mismatch),
    /// The grace is over.
    HandBack,
    /// Its result could not be stored.
    Failed(Error),
}

/// A call without an outcome.
pub struct Open {
    pub record: Record,
    pub tried: Tried,
}

/// An execution that somebody else has begun and seen the end of.
pub struct Begun {
    pub taken_at: Time,
    pub heard: Heard,
    pub run: Result<Run, Fault>,
}

impl Common {
    fn attempts_max(&self) -> u32 {
        self.batch.attempts_max.unwrap_or(self.version.limits.attempts_max)
    }

    fn backoff_ms(&self, failures: u32) -> u64 {
        backoff_ms(self.batch.retry_backoff_ms.unwrap_or(self.version.limits.retry_backoff_ms), failures)
    }

    pub fn work(&self, record: &Record, payload: Body, attempt: u32) -> Work {
        Work {
            app: self.app.clone(),
            app_config: self.definition.app_config.clone(),
            function: self.definition.function.clone(),
            version: self.version.clone(),
            call: self.batch_id.call(record.number),
            attempt,
            headers: record.headers.clone(),
            content_type: record.content_type.clone().or_else(|| self.version.content_type.clone()),
            payload,
            heard: Heard::default(),
        }
    }

    /// The row of a call that ends without an execution to tell of.
    pub fn row(
        &self,
        shared: &Shared,
        number: u64,
        status: State,
        error: Option<String>,
        tried: Tried,
    ) -> Row {
        let now = shared.seams.now();
        let row = Row::without_run(number, status, error, self.created_at, now, self.worker.clone());
        Row { attempts: tried.attempts, ..row }
    }
}

/// From its first attempt on, or from after the one that was `begun`.
pub async fn run(shared: &Shared, common: &Common, mut open: Open, begun: Option<Begun>) -> (Open, Ended) {
    let Open { record, tried } = &mut open;
    let ended = match payload(shared, common, record).await {
        Ok(payload) => attempts(shared, common, record, payload, tried, begun).await,
        Err(ended) => ended,
    };
    (open, ended)
}

/// The record's own, or what lies beside the chunk because it is too big for it.
async fn payload(shared: &Shared, common: &Common, record: &Record) -> Result<Body, Ended> {
    let Some(sha256) = &record.input else { return Ok(record.payload.clone().into()) };
    let key = Key::Input(common.app.clone(), common.batch_id, record.number).to_string();
    let what = match shared.seams.store.stream(&key, limits::BODY_BYTES_MAX).await {
        Ok((body, _)) => {
            let read = body.sha256().map_err(|error| {
                Err(Undecided::Failed(Error::internal(format!(
                    "cannot read the spooled payload `{key}`: {error}"
                ))))
            })?;
            if read == *sha256 {
                return Ok(body);
            }
            "is not what was submitted"
        }
        Err(StoreError::NotFound) => "is missing",
        Err(error) => return Err(Err(Undecided::Failed(error.into()))),
    };
    let error = Some(format!("its payload `{key}` {what}"));
    let row = common.row(shared, record.number, State::Error, error, Tried::default());
    Err(Ok(Box::new(row)))
}

async fn attempts(
    shared: &Shared,
    common: &Common,
    record: &Record,
    payload: Body,
    tried: &mut Tried,
    mut begun: Option<Begun>,
) -> Ended {
    loop {
        tried.attempts += 1;
        let Begun { taken_at, heard, run } = match begun.take() {
            Some(begun) => begun,
            None => match execute(shared, common.work(record, payload.clone(), tried.attempts)).await {
                Some(begun) => begun,
                None => return Err(Undecided::HandBack),
            },
        };
        let failures = match run {
            Ok(run) => {
                let failed = !matches!(run.verdict, Verdict::Success { .. });
                tried.failures += u32::from(failed);
                if !failed || tried.failures >= common.attempts_max() {
                    return finish(shared, common, record.number, *tried, taken_at, run).await;
                }
                tried.failures
            }
            Err(Fault::Function(why)) => {
                tried.function_failures += 1;
                if tried.function_failures > limits::FUNCTION_RETRIES {
                    let mut row = common.row(shared, record.number, State::Error, Some(why), *tried);
                    row.log = end_of_log(&heard.take_log());
                    return Ok(Box::new(row));
                }
                tried.function_failures
            }
            Err(Fault::Worker(why)) => {
                // The execution says nothing, so it is not counted either.
                tried.attempts -= 1;
                return Err(Undecided::Sick(why));
            }
            Err(Fault::Mismatch(mismatch)) => return Err(Undecided::Mismatch(mismatch)),
        };
        let mut wait_ms = common.backoff_ms(failures);
        if wait_ms > limits::RETRY_IN_PLACE_MS_MAX {
            if !common.careful {
                return Err(Undecided::Later(Duration::from_millis(wait_ms)));
            }
            wait_ms = limits::RETRY_IN_PLACE_MS_MAX;
        }
        tokio::select! {
            biased;
            () = shared.phases.reached(Phase::Drain) => return Err(Undecided::HandBack),
            () = shared.seams.clock.sleep(Duration::from_millis(wait_ms)) => {}
        }
    }
}

/// `None`: the grace is over.
async fn execute(shared: &Shared, work: Work) -> Option<Begun> {
    let (taken_at, heard) = (shared.seams.now(), work.heard.clone());
    tokio::select! {
        biased;
        () = shared.phases.reached(Phase::HandBack) => None,
        run = shared.executor.run(work) => Some(Begun { taken_at, heard, run }),
    }
}

async fn finish(
    shared: &Shared,
    common: &Common,
    number: u64,
    tried: Tried,
    taken_at: Time,
    run: Run,
) -> Ended {
    let result = match &run.verdict {
        Verdict::Success { body, .. } => {
            match store_result(shared, common, number, tried.attempts, body.clone()).await {
                Ok(result) => result,
                Err(error) => return Err(Undecided::Failed(error)),
            }
        }
        Verdict::Error { .. } | Verdict::Timeout => RowResult::None,
    };
    Ok(Box::new(row_of(shared, common, number, tried, taken_at, run, result)))
}

/// The row of an execution that decides its call.
pub fn row_of(
    shared: &Shared,
    common: &Common,
    number: u64,
    tried: Tried,
    taken_at: Time,
    run: Run,
    result: RowResult,
) -> Row {
    let (status, error) = (status(&run.verdict), reason(&run, &common.version));
    let content_type = match run.verdict {
        Verdict::Success { content_type, .. } => content_type,
        Verdict::Error { .. } | Verdict::Timeout => None,
    };
    Row {
        number,
        status,
        attempts: tried.attempts,
        created_at: common.created_at,
        queued_ms: taken_at.since_ms(common.created_at),
        start_ms: run.started_at.since_ms(taken_at),
        run_ms: run.took.as_millis() as u64,
        started_at: Some(run.started_at),
        completed_at: shared.seams.now(),
        content_type,
        result,
        error,
        log: end_of_log(&run.log),
        worker: common.worker.clone(),
        worker_version: common.worker_version.clone(),
    }
}

/// A small result lies in its row; a large one in an object under a key that no other execution has (H16).
async fn store_result(
    shared: &Shared,
    common: &Common,
    number: u64,
    attempt: u32,
    body: Body,
) -> Result<RowResult, Error> {
    let unreadable =
        |error: std::io::Error| Error::internal(format!("cannot read a spooled result: {error}"));
    if body.len() <= limits::RESULT_INLINE_BYTES_MAX {
        return Ok(RowResult::Inline(body.to_bytes().map_err(unreadable)?));
    }
    let attempt = AttemptId { delivery: common.delivery, attempt };
    let key = Key::BatchResult(common.app.clone(), common.batch_id, number, attempt).to_string();
    let sha256 = body.sha256().map_err(unreadable)?;
    let bytes = body.len();
    record::until_known(shared, "store a result", || async {
        match shared.seams.store.put(&key, PutObject::create(body.clone())).await {
            Ok(_) | Err(StoreError::Exists) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    Ok(RowResult::Stored { attempt, bytes, sha256 })
}

fn end_of_log(log: &Bytes) -> Option<String> {
    let start = log.len().saturating_sub(limits::ROW_LOG_BYTES_MAX as usize);
    let end = String::from_utf8_lossy(&log[start..]);
    (!end.is_empty()).then(|| end.into_owned())
}
