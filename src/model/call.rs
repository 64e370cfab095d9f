//! A call: one request to run a function.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::{FunctionName, Route, VersionId};
use super::time::Time;
use crate::error::Error;

/// What travels with a payload, as the object's note. Persisted, keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFacts {
    pub v: u32,
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

/// Where a call stands. The first three are derived, the others are what an outcome says.
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
    /// Its worker was lost with it, three times.
    Killed,
    Cancelled,
}

impl State {
    pub const ALL: [State; 8] = [
        State::Delayed,
        State::Queued,
        State::Running,
        State::Success,
        State::Error,
        State::Timeout,
        State::Killed,
        State::Cancelled,
    ];

    pub fn is_final(self) -> bool {
        match self {
            State::Delayed | State::Queued | State::Running => false,
            State::Success | State::Error | State::Timeout | State::Killed | State::Cancelled => true,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Delayed => "delayed",
            State::Queued => "queued",
            State::Running => "running",
            State::Success => "success",
            State::Error => "error",
            State::Timeout => "timeout",
            State::Killed => "killed",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<State, Error> {
        State::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
            Error::invalid(format!("status `{text}` is unknown")).hint(format!("known: {}", known.join(", ")))
        })
    }
}
