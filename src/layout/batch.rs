//! The persisted bodies of batches that are not tables. Persisted, keep stable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::object::MarkKind;
use super::runs::{Runs, check_order, ordered_contain};
use crate::limits;
use crate::model::checked::{checked, within};
use crate::model::id::NUMBER_MAX;
use crate::model::{
    AppName, ArrayJob, BatchId, BatchLimits, CallId, FetchSource, FunctionName, Nonce, Retention, Route,
    State, Time, VersionId,
};

/// `batches/{batch}`: which app an id belongs to. A batch's first object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub app: AppName,
    pub nonce: Nonce,
}

/// `batch`: what was submitted, and all that a resume needs to cut the same chunks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Batch {
    pub function: FunctionName,
    pub version: VersionId,
    pub route: Route,
    pub source: BatchSource,
    pub chunking: Chunking,
    /// The call that follows, and who is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_complete: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<MaxFailures>,
    /// Attempts at a call that fails, instead of the function's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_backoff_ms: Option<u64>,
    /// Unless `control` has others.
    #[serde(default, skip_serializing_if = "BatchLimits::is_none")]
    pub limits: BatchLimits,
    /// How long its content is kept after its end, instead of what the app says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Its calls, or those of the batch that it retries, are an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<ArrayJob>,
    /// Made of that batch's failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<BatchId>,
    /// Its payloads are objects that workers read, and where these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchSource>,
    pub created_at: Time,
    pub nonce: Nonce,
}

/// Where the records come from, as a resume reads it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSource {
    /// `prices.jsonl`, `s3://bucket/prefix`, `-`.
    pub location: String,
    /// `jsonl`, `json`, `openai`, `csv.gz`, `tsv`, `parquet`, `lines`, `files`, `objects`, `array`, `failures`.
    pub format: String,
    /// What separates the fields, if the submitter was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// The field of each record that has its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `record`, `body`, `fetch`, `ref`.
    pub pass: String,
    /// What becomes of a bad record: `record` or `stop`.
    pub on_bad_record: String,
}

checked!(Batch, Chunking, Sealed, Dispatched, Summary, Mark);

fn all_calls() -> u64 {
    NUMBER_MAX
}

impl Batch {
    /// The version of a batch whose payloads are objects that workers read.
    pub const FETCH_VERSION: u32 = 2;

    /// Whether its failures are to be told soon: it stops at a number of them, and is young.
    pub fn brakes_soon(&self, now: Time) -> bool {
        self.max_failures.is_some() && now.since_ms(self.created_at) < limits::ms(limits::BRAKE_YOUNG)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(attempts) = self.attempts_max {
            within("attempts_max", attempts.into(), 1..=limits::ATTEMPTS_MAX.into())?;
        }
        if let Some(backoff_ms) = self.retry_backoff_ms {
            within("retry_backoff_ms", backoff_ms, 0..=limits::RETRY_BACKOFF_MS_MAX)?;
        }
        match self.max_failures {
            Some(MaxFailures::Percent(percent)) => within("max_failures, percent", percent.into(), 1..=100),
            Some(MaxFailures::Count(count)) => within("max_failures", count, 1..=u64::MAX),
            None => Ok(()),
        }
    }
}

impl BatchSource {
    /// Where records have their keys, if they have any.
    pub fn key_field(&self) -> Option<String> {
        let is_openai = self.format.split('.').next() == Some("openai");
        self.key.clone().or(is_openai.then(|| "custom_id".to_owned()))
    }

    /// Whether its records are files or objects, which have names.
    pub fn has_names(&self) -> bool {
        matches!(self.format.as_str(), "files" | "objects")
    }
}

/// How records are cut into chunks: a pure function of these numbers, the records and the chunk's index (H3). And which
/// chunks the submitter puts on the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Chunking {
    pub v: u32,
    pub calls_min: u64,
    pub calls_max: u64,
    /// The number of calls doubles after so many chunks.
    pub chunks_per_doubling: u64,
    /// Of uncompressed records.
    pub bytes_max: u64,
    /// The submitter puts the chunks up to this number on the queue, the supervisor those that end past it. A batch that
    /// does not say so was put there whole.
    #[serde(default = "all_calls")]
    pub first_calls: u64,
}

impl Default for Chunking {
    fn default() -> Chunking {
        Chunking {
            v: 1,
            calls_min: limits::CHUNK_CALLS_MIN,
            calls_max: limits::CHUNK_CALLS_MAX,
            chunks_per_doubling: limits::CHUNKS_PER_DOUBLING,
            bytes_max: limits::CHUNK_BYTES_MAX,
            first_calls: limits::FIRST_CALLS,
        }
    }
}

impl Chunking {
    fn check(&self) -> Result<(), String> {
        within("calls_min", self.calls_min, 1..=limits::RANGE_CALLS_MAX)?;
        within("calls_max", self.calls_max, 1..=limits::RANGE_CALLS_MAX)?;
        within("chunks_per_doubling", self.chunks_per_doubling, 1..=NUMBER_MAX)?;
        within("bytes_max", self.bytes_max, 1..=limits::CHUNK_OBJECT_BYTES_MAX)?;
        within("first_calls", self.first_calls, 0..=NUMBER_MAX)
    }

    /// The most calls of chunk `index`, from 0.
    pub fn calls(&self, index: u64) -> u64 {
        let doublings = (index / self.chunks_per_doubling).min(40);
        self.calls_min.saturating_mul(1 << doublings).min(self.calls_max)
    }
}

/// `--then`: a call under an id derived from the batch's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Then {
    pub app: AppName,
    pub route: Route,
}

/// A brake, not a limit: the batch is cancelled when it is reached, calls that run meanwhile may fail too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaxFailures {
    Count(u64),
    /// Of the calls decided so far.
    Percent(u8),
}

/// What `sealed` says when a source was read to its end: nothing is left that could be submitted.
pub const SEALED_BY_SUBMITTER: &str = "the submitter, at the end of its source";

/// `sealed`: a call belongs iff its number is at most `last` and not missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Sealed {
    pub last: u64,
    /// Ranges, both ends included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(u64, u64)>,
    pub at: Time,
    /// The submitter that came to the end of its source, or whoever sealed without it.
    pub by: String,
}

impl Sealed {
    fn check(&self) -> Result<(), String> {
        within("last", self.last, 0..=NUMBER_MAX)?;
        check_order(self.missing.iter().copied(), self.last)
    }

    pub fn calls(&self) -> u64 {
        self.last - self.missing.iter().map(|(first, last)| last - first + 1).sum::<u64>()
    }

    pub fn belongs(&self, number: u64) -> bool {
        (1..=self.last).contains(&number) && !ordered_contain(&self.missing, number)
    }
}

/// `dispatched/{k}`: which chunks supervisors have put on the queue, and which they may. Written before what it allows is
/// sent. The last one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Dispatched {
    /// Acknowledged by the queue when this was written.
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    pub sent: Runs<()>,
    /// What is not in `sent`, up to this number, may be sent until the next entry is written.
    pub through: u64,
    /// Tells the own entry from another's.
    pub nonce: Nonce,
}

impl Dispatched {
    fn check(&self) -> Result<(), String> {
        within("through", self.through, self.sent.last().unwrap_or(0)..=NUMBER_MAX)
    }
}

/// `cancelled`: cancel was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    pub by: String,
    pub reason: String,
    pub at: Time,
}

/// `summary`: a pure function of the rows, whoever computes it. Stays as tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Summary {
    pub calls: u64,
    pub counts: BTreeMap<State, u64>,
    /// The function's own time of all calls.
    pub run_ms: u64,
    /// Requests that workers spent.
    pub requests: BTreeMap<String, u64>,
    pub parts: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
}

/// `deleted`: the content of the batch is being deleted, or is gone. Written first, so that no reader takes what is left for
/// the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub by: String,
    /// A fragment that fits "its content was deleted: …".
    pub reason: String,
    pub at: Time,
}

/// `fired`: follow-ups done. Stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<CallId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub delivered: bool,
    pub tries: u32,
    /// The last answer, or why there was none.
    pub answer: String,
}

/// `retries/{k}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    pub batch: BatchId,
    pub nonce: Nonce,
}

/// `marks/{last}/{message}.{delivery}.{n}`: calls about to run, or that have left the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Mark {
    /// Runs of numbers, both ends included.
    pub calls: Vec<(u64, u64)>,
    pub kind: MarkKind,
    pub worker: String,
    pub at: Time,
}

impl Summary {
    fn check(&self) -> Result<(), String> {
        within("calls", self.calls, 0..=NUMBER_MAX)?;
        within("parts", self.parts, 0..=limits::BATCH_SUM_MAX)?;
        within("run_ms", self.run_ms, 0..=limits::BATCH_SUM_MAX)?;
        self.counts.values().try_for_each(|count| within("a count of calls,", *count, 0..=NUMBER_MAX))?;
        let mut requests = self.requests.values();
        requests.try_for_each(|count| within("a count of requests,", *count, 0..=limits::BATCH_SUM_MAX))
    }
}

impl Mark {
    fn check(&self) -> Result<(), String> {
        check_order(self.calls.iter().copied(), NUMBER_MAX)
    }
}
