//! Translates the end of an execution into the status and reason of an outcome.

use std::time::Duration;

use crate::model::{State, Version};
use crate::seam::execution_log::last_line;
use crate::seam::executor::{Execution, Verdict};

pub fn status(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Success { .. } => State::Success,
        Verdict::Error { .. } | Verdict::Busy { .. } => State::Error,
        Verdict::Timeout => State::Timeout,
    }
}

/// Why a run failed. An exit code says little: what the function wrote last says why.
pub fn reason(run: &Execution, version: &Version) -> Option<String> {
    match &run.verdict {
        Verdict::Success { .. } => None,
        Verdict::Error { reason } | Verdict::Busy { reason, .. } => Some(match last_line(&run.log) {
            Some(line) if ENDED_BY_ITSELF.iter().any(|end| reason.starts_with(end)) => {
                format!("{reason}: {line}")
            }
            _ => reason.clone(),
        }),
        Verdict::Timeout => {
            let limit = Duration::from_millis(version.limits.timeout_ms);
            Some(format!("timed out after {}", humantime::format_duration(limit)))
        }
    }
}

/// How reasons begin that say of a process no more than how it ended.
const ENDED_BY_ITSELF: [&str; 2] = ["exit code ", "killed by signal "];
