//! The attempt state machine decides what follows when an execution has ended. Single calls and calls of batches share its
//! rules. It does no I/O and knows no queue and no store; its callers carry out its decisions.

use std::time::Duration;

use crate::limits;
use crate::model::{AttemptHistory, Time};
use crate::planted::planted;
use crate::seam::executor::{Execution, Fault, Verdict};

/// How one execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    Succeeded,
    /// The call failed by itself: exit code, exception, out of memory, its time ran out.
    Failed,
    /// It failed for the moment and asks to be tried again, after this wait if it names one.
    Busy(Option<Duration>),
    /// The function could not be started.
    NotStarted,
    /// The worker could not run it.
    Sick,
    /// The version does not suit this worker.
    Mismatch,
}

impl AttemptEnd {
    pub fn of(run: &Result<Execution, Fault>, now: Time) -> AttemptEnd {
        match run {
            Ok(Execution { verdict: Verdict::Success { .. }, .. }) => AttemptEnd::Succeeded,
            Ok(Execution { verdict: Verdict::Busy { retry_after, .. }, .. }) => {
                AttemptEnd::Busy(retry_after.map(|retry_after| retry_after.wait(now)))
            }
            Ok(_) => AttemptEnd::Failed,
            Err(Fault::Function(_)) => AttemptEnd::NotStarted,
            Err(Fault::Worker(_)) => AttemptEnd::Sick,
            Err(Fault::Mismatch(_)) => AttemptEnd::Mismatch,
        }
    }
}

/// How often a call may be tried.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Failures of the call that end it.
    pub attempts_max: u32,
    /// The wait after the first failure; doubled after each further one.
    pub backoff_ms: u64,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The call has its outcome.
    Decide,
    /// The next attempt begins after this wait.
    Retry(Duration),
    /// Others run it, as if this execution had not been.
    HandBack,
}

/// Takes one execution into the history, and says what follows. An execution that says nothing about the call leaves the
/// history as it is, so that its number is used again.
pub fn next(history: &mut AttemptHistory, ended: AttemptEnd, policy: &Policy) -> Next {
    match ended {
        AttemptEnd::Succeeded => {
            history.attempts += 1;
            Next::Decide
        }
        AttemptEnd::Busy(wait) if planted!(history.busy() < limits::BUSY_RETRIES, BusyIsFailure => false) => {
            history.attempts += 1;
            let usual = backoff(policy.backoff_ms, history.busy());
            let longest = Duration::from_millis(limits::RETRY_BACKOFF_MS_MAX);
            Next::Retry(wait.map_or(usual, |wait| wait.min(longest)))
        }
        AttemptEnd::Failed | AttemptEnd::Busy(_) => {
            history.attempts += 1;
            history.failures += 1;
            match history.failures >= policy.attempts_max {
                true => Next::Decide,
                false => Next::Retry(backoff(policy.backoff_ms, history.failures)),
            }
        }
        AttemptEnd::NotStarted => {
            history.attempts += 1;
            history.start_failures += 1;
            match history.start_failures > limits::START_RETRIES {
                true => Next::Decide,
                false => Next::Retry(backoff(policy.backoff_ms, history.start_failures)),
            }
        }
        AttemptEnd::Sick => Next::HandBack,
        AttemptEnd::Mismatch => {
            planted!((), MismatchAddsAttempt => history.attempts += 1);
            Next::HandBack
        }
    }
}

/// Doubles with every failure.
fn backoff(first_ms: u64, failures: u32) -> Duration {
    let factor = 1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_millis(first_ms.saturating_mul(factor).min(limits::RETRY_BACKOFF_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(attempts: u32, failures: u32, start_failures: u32) -> AttemptHistory {
        AttemptHistory { attempts, failures, start_failures }
    }

    #[test]
    fn what_follows_an_execution() {
        use AttemptEnd::*;
        let retry = |ms| Next::Retry(Duration::from_millis(ms));
        let policy = Policy { attempts_max: 3, backoff_ms: 1_000 };
        let none = history(0, 0, 0);
        for (before, ended, follows, after) in [
            (none, Succeeded, Next::Decide, history(1, 0, 0)),
            (none, Failed, retry(1_000), history(1, 1, 0)),
            (history(1, 1, 0), Failed, retry(2_000), history(2, 2, 0)),
            (history(2, 2, 0), Failed, Next::Decide, history(3, 3, 0)),
            (history(2, 2, 0), Succeeded, Next::Decide, history(3, 2, 0)),
            // Two budgets: starts that failed are not failures of the call.
            (history(2, 2, 0), NotStarted, retry(1_000), history(3, 2, 1)),
            (history(3, 1, 2), NotStarted, Next::Decide, history(4, 1, 3)),
            (history(3, 1, 2), Failed, retry(2_000), history(4, 2, 2)),
            // A third: what asks to be tried again is no failure, ten times.
            (none, Busy(None), retry(1_000), history(1, 0, 0)),
            (history(3, 0, 0), Busy(None), retry(8_000), history(4, 0, 0)),
            (history(4, 1, 1), Busy(Some(Duration::from_secs(7))), retry(7_000), history(5, 1, 1)),
            (none, Busy(Some(Duration::MAX)), retry(limits::RETRY_BACKOFF_MS_MAX), history(1, 0, 0)),
            (history(9, 0, 0), Busy(Some(Duration::ZERO)), retry(0), history(10, 0, 0)),
            (history(10, 0, 0), Busy(Some(Duration::ZERO)), retry(1_000), history(11, 1, 0)),
            (history(13, 2, 1), Busy(None), Next::Decide, history(14, 3, 1)),
            (history(10, 0, 0), Failed, retry(1_000), history(11, 1, 0)),
            // What says nothing about the call changes nothing.
            (history(2, 1, 1), Sick, Next::HandBack, history(2, 1, 1)),
            (history(2, 1, 1), Mismatch, Next::HandBack, history(2, 1, 1)),
        ] {
            let mut now = before;
            assert_eq!((next(&mut now, ended, &policy), now), (follows, after), "{before:?} {ended:?}");
        }
        let once = Policy { attempts_max: 1, backoff_ms: 1_000 };
        assert_eq!(next(&mut none.clone(), Failed, &once), Next::Decide);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let waits: Vec<u64> = (1..=4).map(|failures| backoff(1_000, failures).as_millis() as u64).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(backoff(1_000, 200), Duration::from_millis(limits::RETRY_BACKOFF_MS_MAX));
        assert_eq!(backoff(0, 7), Duration::ZERO);
    }
}
