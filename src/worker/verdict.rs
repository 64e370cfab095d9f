//! What an execution came to, in the words of an outcome.

use std::time::Duration;

use crate::model::{State, Version};
use crate::seam::executor::{Run, Verdict};

pub fn status(verdict: &Verdict) -> State {
    match verdict {
        Verdict::Success { .. } => State::Success,
        Verdict::Error { .. } => State::Error,
        Verdict::Timeout => State::Timeout,
    }
}

/// Why a run failed. An exit code says little: what the function wrote last says why.
pub fn reason(run: &Run, version: &Version) -> Option<String> {
    match &run.verdict {
        Verdict::Success { .. } => None,
        Verdict::Error { reason } => Some(match last_line(&run.log) {
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
const LAST_LINE_CHARS_MAX: usize = 200;

fn last_line(log: &[u8]) -> Option<String> {
    let end = &log[log.len().saturating_sub(8 * LAST_LINE_CHARS_MAX)..];
    let end = String::from_utf8_lossy(end);
    let line = end.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    Some(line.chars().take(LAST_LINE_CHARS_MAX).map(plain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_was_written_last() {
        let last = |log: &str| last_line(log.as_bytes());
        assert_eq!(last("begun\nno such file\n\n").as_deref(), Some("no such file"));
        assert_eq!(last("\u{1b}[31mred").as_deref(), Some(" [31mred"));
        assert_eq!(last(&"x".repeat(5_000)).unwrap().len(), LAST_LINE_CHARS_MAX);
        assert_eq!((last(""), last(" \n")), (None, None));
    }
}
