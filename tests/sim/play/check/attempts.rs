//! What a call's outcome says of its attempts, against its executions: no failure is forgotten, none is counted twice, and
//! on a calm day every execution has the number that its history gives it, and its time.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::limits;
use afn::model::{CallId, State};

use super::super::plan::{Way, attempts_max};
use super::super::stage::{Execution, Stage};
use super::{Invariant, Verdict};

/// Times of the engine are whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);
/// Of one execution nobody else knows before its outcome is flushed and looked at.
const OVERLAP: Duration = Duration::from_secs(120);
/// The first execution of a call leaves no mark, and five marks condemn it.
const KILLER_EXECUTIONS_MAX: usize = 1 + limits::LOSSES_MAX;

/// All executions of one call, in the order of their beginnings.
pub struct History<'a> {
    call: CallId,
    function: &'static str,
    way: Way,
    executions: Vec<&'a Execution>,
    backoff: Duration,
    is_calm: bool,
    only_killers: bool,
}

impl<'a> History<'a> {
    pub fn of(
        stage: &Stage,
        executions: &'a [Execution],
        call: CallId,
        function: &'static str,
        way: Way,
    ) -> History<'a> {
        let executions = executions.iter().filter(|execution| execution.call == call).collect();
        let backoff = stage.backoffs.lock().expect("no holder panics")[function];
        let (is_calm, only_killers) = (stage.plan.calm, stage.plan.only_killers);
        History { call, function, way, executions, backoff, is_calm, only_killers }
    }

    pub fn check(&self, status: State, attempts: u32) -> Verdict {
        // It fails before any execution, or has failed so before it.
        if matches!(self.way, Way::CannotStart | Way::StartsOnOdd) {
            return Ok(());
        }
        if status == State::Error && matches!(self.way, Way::BusyFirst(_)) {
            return self.wrong("asked to be tried again, and has failed");
        }
        if status == State::Error {
            self.was_tried_as_often_as_it_may(attempts)?;
        }
        if self.only_killers && self.way == Way::Kills && self.executions.len() > KILLER_EXECUTIONS_MAX {
            return self.wrong("took more workers along than its marks need");
        }
        if self.is_calm {
            self.numbers_and_times_are_right()?;
            self.outcome_is_of_the_last(status, attempts)?;
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> Verdict {
        let of: Vec<(u32, State, Duration, Option<Duration>)> =
            self.executions.iter().map(|one| (one.attempt, one.ends, one.begun, one.ended)).collect();
        let (call, function, way) = (self.call, self.function, self.way);
        Err(Invariant::Truthful.broken(format!("{call} ({function}, {way:?}) {why}; executions: {of:?}")))
    }

    /// On every day: a call that failed has failed in each of its attempts.
    fn was_tried_as_often_as_it_may(&self, attempts: u32) -> Verdict {
        let most = attempts_max(self.function);
        let failed_in = |attempt: u32| {
            self.executions.iter().any(|one| one.attempt == attempt && one.ends == State::Error)
        };
        if attempts == most && (1..=most).all(failed_in) {
            return Ok(());
        }
        self.wrong(&format!("failed after {attempts} attempts, of {most}"))
    }

    /// The attempts that had failed when an execution began, each with when its back-off was over. An attempt may run twice at
    /// once: a supervisor that follows a lost one may send a retry once more.
    fn failures_before(&self, begun: Duration) -> BTreeMap<u32, Duration> {
        let mut failures: BTreeMap<u32, Duration> = BTreeMap::new();
        for execution in &self.executions {
            let Some(ended) = execution.ended.filter(|ended| *ended <= begun) else { continue };
            if execution.ends == State::Error {
                let backoff = self.backoff * (1 << (execution.attempt - 1));
                let waits = ended + backoff.min(Duration::from_millis(limits::RETRY_BACKOFF_MS_MAX));
                let known = failures.entry(execution.attempt).or_insert(waits);
                *known = (*known).min(waits);
            }
        }
        failures
    }

    fn numbers_and_times_are_right(&self) -> Verdict {
        for execution in &self.executions {
            let (attempt, begun) = (execution.attempt, execution.begun);
            let has_succeeded = self.executions.iter().any(|one| {
                one.ends == State::Success && one.ended.is_some_and(|ended| ended + OVERLAP < begun)
            });
            if has_succeeded {
                return self.wrong("ran again after it had succeeded");
            }
            let failures = self.failures_before(begun);
            let count = failures.len() as u32;
            if attempt <= self.failures_before(begun.saturating_sub(OVERLAP)).len() as u32 {
                return self
                    .wrong(&format!("ran as attempt {attempt} after {count} failures: one is forgotten"));
            }
            if attempt > count + 1 {
                return self
                    .wrong(&format!("ran as attempt {attempt} after {count} failures: one counts twice"));
            }
            let before = attempt.checked_sub(1).and_then(|before| failures.get(&before));
            if before.is_some_and(|not_before| begun + ROUNDING < *not_before) {
                return self.wrong(&format!("ran as attempt {attempt} before its back-off was over"));
            }
        }
        Ok(())
    }

    fn outcome_is_of_the_last(&self, status: State, attempts: u32) -> Verdict {
        let is_it = |one: &Execution| one.ended.is_some() && (one.ends, one.attempt) == (status, attempts);
        if self.executions.iter().any(|one| is_it(one)) {
            return Ok(());
        }
        self.wrong(&format!("was recorded as {status:?} after {attempts} attempts"))
    }
}
