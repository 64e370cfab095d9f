//! A call: one request to run a function.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::{FunctionName, Route, VersionId};
use super::text::words;
use super::time::Time;

/// What travels with a payload, as the object's metadata. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFacts {
    pub function: FunctionName,
    /// The version that was current when the call was accepted; it is the one that runs.
    pub version: VersionId,
    pub route: Route,
    pub created_at: Time,
    /// Not to be run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Request headers that the function gets to see; at most 1 KiB in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Tells one submission of this id from another whose answer was lost.
    pub nonce: super::id::Nonce,
}

/// The state of a call. The first three are derived from what is stored, the others are the status of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Delayed,
    Queued,
    Running,
    Success,
    /// Exit code, exception, out of memory, or the platform; always with the reason.
    Error,
    /// Its own time ran out.
    Timeout,
    /// Its worker was lost with it again and again, also while nothing else ran there.
    Killed,
    Cancelled,
}

words! {
    State, "status": Delayed = "delayed", Queued = "queued", Running = "running", Success = "success", Error = "error",
    Timeout = "timeout", Killed = "killed", Cancelled = "cancelled"
}

impl State {
    pub fn is_final(self) -> bool {
        match self {
            State::Delayed | State::Queued | State::Running => false,
            State::Success | State::Error | State::Timeout | State::Killed | State::Cancelled => true,
        }
    }
}
