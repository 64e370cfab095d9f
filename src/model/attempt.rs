//! How often a call was tried. Persisted, keep stable.

use serde::{Deserialize, Serialize};

use super::checked::{checked, is_default, within};
use crate::limits;

/// The executions of a call that have ended. One that was cut off (drain, hand-over, mismatch, sick or lost worker) is
/// not counted, and its number is used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct AttemptHistory {
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// Attempts that failed by themselves. Only these count against the function's `max_attempts`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Attempts at which the function could not be started. They have a budget of their own.
    #[serde(default, skip_serializing_if = "is_default", alias = "function_failures")]
    pub start_failures: u32,
}

checked!(AttemptHistory);

impl AttemptHistory {
    pub(crate) fn check(&self) -> Result<(), String> {
        let AttemptHistory { attempts, failures, start_failures } = *self;
        let most = attempts.max(failures).max(start_failures);
        within("a number of attempts,", most.into(), 0..=limits::ATTEMPTS_ENDED_MAX.into())
    }

    /// The number of the next attempt, which the function sees as `AFN_ATTEMPT`.
    pub fn next_attempt(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// Attempts that failed for the moment and asked to be tried again: those that are nothing else, since a success is the
    /// last.
    pub fn busy(&self) -> u32 {
        self.attempts.saturating_sub(self.failures.saturating_add(self.start_failures))
    }

    /// What is known from two sources: the one that knows of more attempts is right.
    pub fn merge(self, other: AttemptHistory) -> AttemptHistory {
        if other.attempts > self.attempts { other } else { self }
    }
}
