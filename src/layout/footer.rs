//! What a part's footer tells: all that is decided so far in its chunk's log, this part included. The last part's footer
//! alone tells progress. Persisted, keep stable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::chunk::chunk_first_min;
use super::decided::Decided;
use super::runs::{PendingCall, Runs};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::checked::{is_default, within};
use crate::model::id::NUMBER_MAX;
use crate::model::{AppName, BatchId, FunctionName, Route, State, VersionId};

/// How much of a part's end holds its footer, nearly always.
pub const END_BYTES: u64 = 32 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub v: u32,
    pub app: AppName,
    pub function: FunctionName,
    pub route: Route,
    pub version: VersionId,
    pub batch: BatchId,
    /// The last number of the chunk.
    pub last: u64,
    /// Which numbers are decided, and in which part.
    pub decided: Decided,
    /// Calls by status, up to here.
    pub counts: BTreeMap<State, u64>,
    /// Requests that workers have spent on this chunk, by operation, up to here.
    pub requests: BTreeMap<String, u64>,
    /// The function's own time of all calls up to here.
    pub run_ms: u64,
    /// Calls that wait for a retry: when it is due, and what they went through. None of them is decided.
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    pub pending: Runs<PendingCall>,
    /// Executions that have ended up to here, those that failed too, and the time on a slot that they took.
    #[serde(default)]
    pub executions: u64,
    #[serde(default)]
    pub executions_ms: u64,
    /// One of them, or one that runs, was started: the function got its payload.
    #[serde(default, skip_serializing_if = "is_default")]
    pub started: bool,
    /// Who wrote this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Writer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    pub worker: String,
    /// Calls of the chunk that ran there when the part was written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub running: u64,
}

/// The version that is written. One of version 1 has no pending calls and no writer.
pub const VERSION: u32 = 2;

impl Footer {
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("text keys")
    }

    pub fn decode(name: impl std::fmt::Display, text: &str) -> Result<Footer> {
        let footer: Footer = serde_json::from_str(text).map_err(|error| {
            Error::internal(format!("object `{name}` cannot be read: its footer: {error}"))
        })?;
        let unreadable =
            |why: String| Error::internal(format!("object `{name}` cannot be read: its footer: {why}"));
        if footer.v > VERSION {
            let v = footer.v;
            return Err(unreadable(format!("it has version {v}, this afn reads versions up to {VERSION}"))
                .with_hint("a newer afn wrote it: upgrade this one"));
        }
        footer.check().map_err(unreadable)?;
        Ok(footer)
    }

    /// Everything it tells of lies within its chunk.
    fn check(&self) -> std::result::Result<(), String> {
        within("last", self.last, 1..=NUMBER_MAX)?;
        let calls = chunk_first_min(self.last)..=self.last;
        let pending = self.pending.first().zip(self.pending.last());
        for (first, last) in self.decided.ends().into_iter().chain(pending) {
            within("call", first, calls.clone())?;
            within("call", last, calls.clone())?;
        }
        let mut counts = self.counts.values();
        counts.try_for_each(|count| within("a count of calls,", *count, 0..=limits::RANGE_CALLS_MAX))?;
        let running = self.writer.as_ref().map_or(0, |writer| writer.running);
        within("a count of running calls,", running, 0..=limits::RANGE_CALLS_MAX)?;
        let sums = [self.run_ms, self.executions, self.executions_ms];
        let mut sums = sums.iter().chain(self.requests.values());
        sums.try_for_each(|sum| within("a sum,", *sum, 0..=limits::CHUNK_SUM_MAX))
    }
}
