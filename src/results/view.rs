//! A call as it is read from the store.

use bytes::Bytes;
use serde::Serialize;

use crate::error::{Code, Result};
use crate::limits;
use crate::model::{AppName, AttemptId, CallId, FunctionName, Route, State, Stored, Time, VersionId};

/// A call. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallView {
    #[serde(rename = "call_id")]
    pub id: CallId,
    pub app: AppName,
    pub function: FunctionName,
    pub route: Route,
    pub version: VersionId,
    #[serde(rename = "status")]
    pub state: State,
    /// Why, unless the call succeeded or has no outcome yet.
    pub reason: Option<String>,
    /// Executions that began, as far as the store shows.
    pub attempts: u32,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub completed_at: Option<Time>,
    /// The function's own time.
    pub run_ms: Option<u64>,
    pub not_before: Option<Time>,
    /// `None`: the call is being deleted and its payload is gone; or it is a call of a batch, whose payload lies in a chunk.
    pub payload_bytes: Option<u64>,
    pub content_type: Option<String>,
    pub result: Option<Stored>,
    pub log: Option<Stored>,
    /// The execution that the outcome is of.
    pub attempt: Option<AttemptId>,
    pub worker: Option<String>,
    /// Bodies of a batch's call that were read with it.
    #[serde(skip)]
    pub inline: InlineBodies,
    #[serde(skip)]
    pub unfinished: UnfinishedDetails,
}

impl CallView {
    /// A call of which only names, state and the time of its id are known.
    pub(super) fn new(
        app: &AppName,
        id: CallId,
        (function, route, version): (FunctionName, Route, VersionId),
        state: State,
    ) -> CallView {
        CallView {
            id,
            app: app.clone(),
            function,
            route,
            version,
            state,
            reason: None,
            attempts: 0,
            created_at: id.time(),
            started_at: None,
            completed_at: None,
            run_ms: None,
            not_before: None,
            payload_bytes: None,
            content_type: None,
            result: None,
            log: None,
            attempt: None,
            worker: None,
            inline: InlineBodies::default(),
            unfinished: UnfinishedDetails::default(),
        }
    }

    /// The attempt that failed last, if no later one has begun.
    pub fn failed_last(&self) -> Option<&Attempt> {
        self.unfinished.failed.as_ref().filter(|failed| failed.number == self.attempts)
    }
}

/// Details of a call without an outcome, which help to explain why it does not progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnfinishedDetails {
    /// The attempt that failed last.
    pub failed: Option<Attempt>,
    /// How long its message stays hidden when its worker is lost.
    pub lease_ms: Option<u64>,
}

/// Bodies of a call that lie in its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InlineBodies {
    pub result: Option<Bytes>,
    pub log: Option<Bytes>,
}

/// An attempt that ended and was not the call's outcome. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    pub attempt: AttemptId,
    pub number: u32,
    pub status: State,
    pub reason: String,
    /// Failures of the call until then.
    pub failures: u32,
    pub started_at: Option<Time>,
    pub ended_at: Time,
    pub run_ms: u64,
    /// About when the next one begins.
    pub retry_at: Option<Time>,
    pub worker: String,
    pub log: Stored,
}

/// A call or a batch that a list could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    pub id: String,
    pub why: String,
}

impl Unreadable {
    /// Notes an object that cannot be read, or is gone, and returns whether it could. Other errors are returned.
    pub(super) fn note(all: &mut Vec<Unreadable>, id: String, read: Result<()>) -> Result<bool> {
        match read {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.code(), Code::Internal | Code::NotFound) => {
                // More are not kept, so that memory stays bounded.
                if all.len() < limits::LIST_SCAN_MAX {
                    all.push(Unreadable { id, why: error.to_string() });
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
