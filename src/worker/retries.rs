//! Calls of a batch that wait for a retry have no message. The supervisor sends them when they are due, those of one chunk
//! together. A supervisor whose predecessor was lost does not know what that one sent, and waits first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Abandoned, Shared};
use crate::layout::chunk::chunk_first_min;
use crate::layout::{Message, PendingCall, RangeMessage, Runs};
use crate::limits;
use crate::model::{AttemptHistory, BatchRef, MarkId, Time};
use crate::outcomes::{Log, Logs};
use crate::submit::send;

/// What one supervisor has sent.
#[derive(Debug)]
pub struct Retries {
    /// What the supervisor before has told that it had sent. Its runs are as long as a message says, so they stay runs.
    sent_before: Runs<AttemptHistory>,
    /// By number: the attempts that had ended when the call was sent.
    sent: BTreeMap<u64, u32>,
    /// Another supervisor may have sent what was due before.
    since: Time,
    /// Another supervisor may be at work too. What it has sent is known only by the outcomes.
    is_extra: bool,
    /// By number: calls that are due later than any retry waits, because the clock of the worker that recorded them is ahead of
    /// this one. With the attempts that had ended, and when the supervisor saw them first.
    late: BTreeMap<u64, (u32, Time)>,
}

impl Retries {
    pub fn new(since: Time, is_extra: bool, sent_before: &Runs<AttemptHistory>) -> Retries {
        let sent_before = sent_before.clone();
        Retries { sent_before, sent: BTreeMap::new(), since, is_extra, late: BTreeMap::new() }
    }

    /// Notes what is due too late.
    fn note_late(&mut self, logs: &Logs, now: Time) {
        for (number, call) in logs.belonging(None).flat_map(Log::pending) {
            let attempts = call.history.attempts;
            let is_noted = self.late.get(number).is_some_and(|(noted, _)| *noted == attempts);
            if call.due > now.plus_ms(limits::RETRY_BACKOFF_MS_MAX) && !is_noted {
                self.late.insert(*number, (attempts, now));
            }
        }
    }

    /// When a call is due by this machine's clock, as far as it can be told.
    fn due(&self, number: u64, call: &PendingCall) -> Time {
        match self.late.get(&number) {
            Some((attempts, seen)) if *attempts == call.history.attempts => {
                call.due.min(seen.plus_ms(limits::RETRY_BACKOFF_MS_MAX))
            }
            _ => call.due,
        }
    }

    fn is_sent(&self, number: u64, call: &PendingCall) -> bool {
        let before = self.sent_before.get(number).map(|history| history.attempts);
        let sent = self.sent.get(&number).copied().max(before);
        sent.is_some_and(|attempts| attempts >= call.history.attempts)
    }

    /// When a call is to be sent. What another supervisor may have sent gets its time to show itself.
    fn send_at(&self, number: u64, call: &PendingCall, mean_ms: u64) -> Time {
        let uncertain_ms = limits::ms(limits::UNCERTAIN) + 2 * mean_ms;
        let due = self.due(number, call);
        match due < self.since || self.is_extra {
            true => due.max(self.since).plus_ms(uncertain_ms),
            false => due,
        }
    }

    /// Sends what is due, once it is time. All of it at once in a batch that was cancelled: a worker has to decide it.
    pub async fn send_due(
        &mut self,
        shared: &Shared,
        of: &BatchRef,
        logs: &Logs,
        is_cancelled: bool,
    ) -> Result<(), Abandoned> {
        let (now, mean_ms) = (shared.deps.now(), logs.mean_ms());
        self.note_late(logs, now);
        if !is_cancelled && self.next_send(logs).is_none_or(|at| at > now) {
            return Ok(());
        }
        for log in logs.belonging(None) {
            self.sent.retain(|number, _| !log.decided().contains(*number));
            self.late.retain(|number, _| !log.decided().contains(*number));
            let due = |(number, call): &(&u64, &PendingCall)| {
                (is_cancelled || self.send_at(**number, call, mean_ms) <= now)
                    && !self.is_sent(**number, call)
            };
            let calls: Runs<AttemptHistory> =
                log.pending().iter().filter(due).map(|(number, call)| (*number, call.history)).collect();
            if calls.is_empty() {
                continue;
            }
            send_range(shared, of, log, calls.clone(), Runs::default()).await?;
            let attempts: BTreeMap<u64, AttemptHistory> = calls.into();
            self.sent.extend(attempts.into_iter().map(|(number, history)| (number, history.attempts)));
        }
        Ok(())
    }

    /// When something is to be sent. The first that is due waits a moment for others, or each would have a message, and a part
    /// of its chunk's log; not where the last is due before.
    pub fn next_send(&self, logs: &Logs) -> Option<Time> {
        let mean_ms = logs.mean_ms();
        let waiting = logs.belonging(None).flat_map(Log::pending);
        let open = waiting.filter(|(number, call)| !self.is_sent(**number, call));
        let due = open.map(|(number, call)| self.send_at(*number, call, mean_ms));
        let bounds = |bounds: Option<(Time, Time)>, at: Time| {
            Some(bounds.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
        };
        let (first, last) = due.fold(None, bounds)?;
        Some(first.plus_ms(limits::ms(limits::RETRIES_TOGETHER)).min(last))
    }

    /// What was sent and nothing has come of, for the next supervisor.
    pub fn outstanding(&self, logs: &Logs) -> Runs<AttemptHistory> {
        let pending = logs.belonging(None).flat_map(Log::pending);
        let sent = pending.filter(|(number, call)| self.is_sent(**number, call));
        let history = |call: &PendingCall| {
            let attempts = call.history.attempts;
            AttemptHistory { attempts, ..AttemptHistory::default() }
        };
        let runs: Runs<AttemptHistory> = sent.map(|(number, call)| (*number, history(call))).collect();
        if runs.iter().len() > limits::RETRIED_RUNS_MAX { Runs::default() } else { runs }
    }
}

/// The calls of a chunk that nothing has come of, but for those whose retry is not due yet. `first` may lie far below the
/// chunk, where chunks are missing.
pub fn undecided(log: &Log, first: u64, last: u64, now: Time) -> Runs<AttemptHistory> {
    let history = |number: u64| match log.pending().get(&number) {
        Some(call) if call.due > now => None,
        Some(call) => Some((number, call.history)),
        None => Some((number, AttemptHistory::default())),
    };
    log.decided().open(first.max(chunk_first_min(last))..=last).filter_map(history).collect()
}

/// Sends calls of one chunk in one message, with the names of the marks under which they were lost. A call that failed
/// without taking its worker along has none.
pub async fn send_range(
    shared: &Shared,
    of: &BatchRef,
    log: &Log,
    calls: Runs<AttemptHistory>,
    losses: Runs<Vec<MarkId>>,
) -> Result<(), Abandoned> {
    let message = send::range_message(&shared.deps, of, log.last(), calls);
    let message = RangeMessage { again: true, losses, ..message };
    send::send(&shared.deps.queues.chunks, &Message::Range(message), Duration::ZERO).await?;
    Ok(())
}
