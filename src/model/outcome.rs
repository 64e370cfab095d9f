//! An outcome: the one final record of a call.

use serde::{Deserialize, Serialize};

use super::call::{CallFacts, State};
use super::checked::{checked, within};
use super::id::AttemptId;
use super::name::{Digest, FunctionName, Route, VersionId};
use super::time::Time;
use crate::limits;

/// The body of a single call's `status`. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Outcome {
    /// Always a final state.
    pub status: State,
    /// Why, unless the call succeeded: `exit code 3`, `timed out after 30 s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub function: FunctionName,
    pub version: VersionId,
    pub route: Route,
    /// Executions that were begun, as far as the recording worker knows; 0 when none was.
    pub attempts: u32,
    /// The execution that this is the outcome of; names the keys of result and log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    pub created_at: Time,
    /// When that execution began to run the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    pub completed_at: Time,
    /// The function's own time, by a monotonic clock.
    pub run_ms: u64,
    /// `None`: there is no result object (empty answer, or failure).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Stored>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Stored>,
    /// Who recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_version: Option<String>,
}

/// How an attempt ended that is not its call's outcome: it rides on the attempt's log as the object's metadata. Persisted,
/// keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct AttemptFacts {
    /// As if it were the outcome.
    pub status: State,
    pub reason: String,
    /// Attempts that failed by themselves or could not be started, this one included.
    pub failures: u32,
    /// When the function began to run, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    pub ended_at: Time,
    pub run_ms: u64,
    /// About when the next attempt begins; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Of the log.
    pub sha256: Digest,
    /// Who ran it.
    pub worker: String,
}

/// What an outcome says of a body that lies in an object of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Stored {
    pub bytes: u64,
    pub sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

checked!(Outcome, AttemptFacts, Stored);

impl Outcome {
    /// Of a call that no execution decided.
    pub fn without_run(facts: &CallFacts, status: State, reason: Option<String>, now: Time) -> Outcome {
        Outcome {
            status,
            reason,
            function: facts.function.clone(),
            version: facts.version.clone(),
            route: facts.route.clone(),
            attempts: 0,
            attempt: None,
            created_at: facts.created_at,
            started_at: None,
            completed_at: now,
            run_ms: 0,
            result: None,
            log: None,
            worker: None,
            worker_version: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        within("run_ms", self.run_ms, 0..=limits::SIZE_MAX)?;
        within("attempts", self.attempts.into(), 0..=limits::ATTEMPTS_ENDED_MAX.into())?;
        self.status.is_final().then_some(()).ok_or_else(|| format!("`{}` is no outcome", self.status))
    }
}

impl AttemptFacts {
    fn check(&self) -> Result<(), String> {
        within("run_ms", self.run_ms, 0..=limits::SIZE_MAX)?;
        within("failures", self.failures.into(), 0..=limits::ATTEMPTS_ENDED_MAX.into())
    }
}

impl Stored {
    fn check(&self) -> Result<(), String> {
        within("bytes", self.bytes, 0..=limits::SIZE_MAX)
    }
}
