//! The status of a batch, in one word.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::State;
use crate::model::text::words;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchStatus {
    /// Its source is being read; workers may be at it already.
    Submitting,
    /// Submitted whole, and nothing of it is decided.
    Queued,
    Running,
    /// Nothing more of it begins until it is unpaused.
    Paused,
    /// Cancel was asked for, and not everything is decided.
    Cancelling,
    /// Every call succeeded.
    Success,
    /// Everything is decided, and some calls failed.
    Failed,
    /// It was stopped before it came to its end.
    Cancelled,
}

words! {
    BatchStatus, "status": Submitting = "submitting", Queued = "queued", Running = "running", Paused = "paused", Cancelling = "cancelling",
    Success = "success", Failed = "failed", Cancelled = "cancelled"
}

impl BatchStatus {
    pub fn is_final(self) -> bool {
        match self {
            BatchStatus::Success | BatchStatus::Failed | BatchStatus::Cancelled => true,
            BatchStatus::Submitting
            | BatchStatus::Queued
            | BatchStatus::Running
            | BatchStatus::Paused
            | BatchStatus::Cancelling => false,
        }
    }
}

/// Whether a call that ended so failed by itself.
pub fn is_failed(state: State) -> bool {
    matches!(state, State::Error | State::Timeout | State::Killed)
}

/// Calls that failed by themselves.
pub fn failed(counts: &BTreeMap<State, u64>) -> u64 {
    counts.iter().filter(|(state, _)| is_failed(**state)).map(|(_, count)| count).sum()
}
