//! The calls of a range that have no outcome yet, shared by the range and its runners: calls to begin, calls that wait for
//! a retry, running calls, and the results of those that ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::context::{CallEnd, Interruption, OpenCall};
use crate::layout::part::Row;
use crate::limits;
use crate::model::AttemptHistory;
use crate::outcomes::is_failed;
use crate::seam::ExecutionLog;
use crate::worker::failures::FailureBrake;
use crate::worker::limiter::{Admission, Gate};
use crate::worker::prefetch::PrefetchClaim;

pub struct CallQueue {
    state: Mutex<State>,
    /// Whether calls of the batch may begin here.
    gate: Arc<Gate>,
    /// Something has ended that cannot wait for the range's next look.
    news: Notify,
    /// It is not known yet whether the function can be started here.
    watches: AtomicBool,
    /// Of a batch that stops at a number of failures.
    brake: Option<Arc<FailureBrake>>,
}

struct State {
    /// Not begun, by number.
    todo: BTreeMap<u64, OpenCall>,
    /// Short waits for a retry, each with the time when it is due. Held in memory only: if the worker is lost, these calls run again
    /// with the history of the message.
    waiting: BTreeMap<u64, (Duration, OpenCall)>,
    /// The worker asks for its next range when few are left of this one.
    claim: PrefetchClaim,
    claims_nothing: bool,
    running: BTreeMap<u64, AttemptHistory>,
    ended: EndedCalls,
    rows_bytes: u64,
    /// One was interrupted: none begins here any more.
    closed: bool,
    /// Of the call that began last, while starts are watched.
    latest: Option<ExecutionLog>,
}

/// What has ended since the range looked last.
#[derive(Default)]
pub struct EndedCalls {
    pub rows: Vec<Row>,
    pub retries: Vec<(OpenCall, Duration)>,
    pub interrupted: Vec<(OpenCall, Interruption)>,
    /// Executions, and the time on a slot that they took.
    pub executions: u64,
    pub busy: Duration,
    /// Why some of them could not be started.
    pub not_started: Vec<String>,
}

impl CallQueue {
    pub fn new(
        todo: BTreeMap<u64, OpenCall>,
        claim: PrefetchClaim,
        gate: Arc<Gate>,
        brake: Option<Arc<FailureBrake>>,
    ) -> Arc<CallQueue> {
        let (waiting, running, ended) = Default::default();
        let (claims_nothing, closed, latest) = (false, false, None);
        let mut state =
            State { todo, waiting, claim, claims_nothing, running, ended, rows_bytes: 0, closed, latest };
        state.update_claim(&gate);
        let watches = AtomicBool::new(false);
        Arc::new(CallQueue { state: Mutex::new(state), gate, news: Notify::new(), watches, brake })
    }

    /// Watches whether the function is started, until it was.
    pub fn watch(&self) {
        self.watches.store(true, Relaxed);
    }

    pub fn stop_watching(&self) {
        self.watches.store(false, Relaxed);
    }

    pub fn is_watching(&self) -> bool {
        self.watches.load(Relaxed)
    }

    /// An execution is about to begin.
    pub fn begins(&self, execution_log: &ExecutionLog) {
        if self.is_watching() {
            self.state().latest = Some(execution_log.clone());
        }
    }

    /// Whether the function of the call that began last was started, while starts are watched.
    pub fn has_started(&self) -> bool {
        self.state().latest.as_ref().is_some_and(|latest| latest.started_at().is_some())
    }

    /// How many calls run.
    pub fn running(&self) -> u64 {
        self.state().running.len() as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Changes what was not begun.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        state.update_claim(&self.gate);
        changed
    }

    /// Whoever asks whether to receive more need not count them.
    pub fn claim_nothing(&self) {
        self.change(|state| state.claims_nothing = true);
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// How many may begin now.
    pub fn todo(&self) -> usize {
        self.state().todo.len()
    }

    /// Those that may begin now.
    pub fn numbers(&self) -> BTreeSet<u64> {
        self.state().todo.keys().copied().collect()
    }

    /// Whether nothing is left to begin: every call was begun, given away or has ended.
    pub fn has_begun_all(&self) -> bool {
        let state = self.state();
        state.todo.is_empty() && state.waiting.is_empty()
    }

    /// The number of failures at which the batch stops, if this worker has seen so many.
    pub fn reached_failures(&self) -> Option<u64> {
        self.brake.as_ref().filter(|brake| brake.is_reached()).map(|brake| brake.max)
    }

    /// The first that may begin, which begins now. None while the range has rows enough to record: they would pile up. None
    /// once one was interrupted, since what stopped it stops the others, or too many have failed. And none while the batch is
    /// paused or at its limits.
    pub fn take(&self) -> Option<OpenCall> {
        self.change(|state| {
            let is_closed = state.closed || self.reached_failures().is_some();
            if is_closed || state.rows_bytes >= limits::FLUSH_BYTES || state.todo.is_empty() {
                return None;
            }
            let permit = match self.gate.begin() {
                Admission::Free => None,
                Admission::Permitted(permit) => Some(permit),
                Admission::NotNow => return None,
            };
            let (number, open) = state.todo.pop_first()?;
            state.running.insert(number, open.history);
            Some(OpenCall { permit, ..open })
        })
    }

    pub fn give_back(&self, open: OpenCall) {
        let open = open.at_rest();
        self.change(|state| state.todo.insert(open.record.number, open));
    }

    /// It waits here for its retry, without a slot.
    pub fn wait(&self, open: OpenCall, due: Duration) {
        self.state().waiting.insert(open.record.number, (due, open));
    }

    /// When the next retry that waits here is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.state().waiting.values().map(|(due, _)| *due).min()
    }

    /// Retries that are due may begin.
    pub fn wake(&self, now: Duration) {
        if self.next_due().is_none_or(|due| due > now) {
            return;
        }
        self.change(|state| {
            for (number, (_, open)) in state.waiting.extract_if(.., |_, (due, _)| *due <= now) {
                state.todo.insert(number, open);
            }
        });
    }

    /// What was not begun but the first `kept`.
    pub fn split_off(&self, kept: usize) -> BTreeMap<u64, OpenCall> {
        self.change(|state| {
            let first = state.todo.keys().nth(kept).copied();
            first.map(|first| state.todo.split_off(&first)).unwrap_or_default()
        })
    }

    /// Whether a call that may begin was tried before.
    pub fn has_retries(&self) -> bool {
        self.state().todo.values().any(|open| open.history.attempts > 0)
    }

    /// Forgets those that are not to begin from this message.
    pub fn retain_histories(&self, keep: impl Fn(u64, &AttemptHistory) -> bool) {
        self.change(|state| state.todo.retain(|number, open| keep(*number, &open.history)));
    }

    /// Forgets those that are decided by now.
    pub fn retain(&self, keep: impl Fn(u64) -> bool) {
        self.change(|state| {
            state.todo.retain(|number, _| keep(*number));
            state.waiting.retain(|number, _| keep(*number));
        });
    }

    pub fn take_todo(&self) -> BTreeMap<u64, OpenCall> {
        self.change(|state| std::mem::take(&mut state.todo))
    }

    /// Those that wait for a retry here, each with the time when it is due.
    pub fn take_waiting(&self) -> BTreeMap<u64, (Duration, OpenCall)> {
        std::mem::take(&mut self.state().waiting)
    }

    /// Those that were begun and have not ended, with what they went through before.
    pub fn take_running(&self) -> BTreeMap<u64, AttemptHistory> {
        std::mem::take(&mut self.state().running)
    }

    pub fn take_ended(&self) -> EndedCalls {
        let mut state = self.state();
        state.rows_bytes = 0;
        std::mem::take(&mut state.ended)
    }

    /// Whether the range has taken in all that ended.
    pub fn has_settled(&self) -> bool {
        let ended = &self.state().ended;
        ended.rows.is_empty() && ended.retries.is_empty() && ended.interrupted.is_empty()
    }

    /// A call has its row, after so long on a slot.
    pub fn decided(&self, row: Row, busy: Duration) {
        let mut state = self.state();
        state.ended.count(busy);
        self.decide(state, row);
    }

    fn decide(&self, mut state: MutexGuard<'_, State>, row: Row) {
        state.running.remove(&row.number);
        state.rows_bytes += row.bytes();
        // The supervisor is to hear of it soon.
        let counts = self.brake.is_some() && is_failed(row.status);
        if let Some(brake) = self.brake.as_ref().filter(|_| counts) {
            brake.record(row.number);
        }
        state.ended.rows.push(row);
        let is_full = state.rows_bytes >= limits::FLUSH_BYTES;
        drop(state);
        if is_full || counts {
            self.news.notify_one();
        }
    }

    pub fn ended(&self, end: CallEnd, busy: Duration) {
        let mut state = self.state();
        let (end, not_started) = match end {
            CallEnd::NotStarted(why, end) => (*end, Some(why)),
            end => (end, None),
        };
        // In one step with the execution: else that would count as one that was started.
        state.ended.not_started.extend(not_started);
        match end {
            CallEnd::Decided(row) => {
                state.ended.count(busy);
                return self.decide(state, *row);
            }
            // It says nothing about starts, nor about how long calls take.
            CallEnd::Unrunnable(row) => return self.decide(state, *row),
            CallEnd::Retry(open, wait) => {
                let open = open.at_rest();
                state.running.remove(&open.record.number);
                state.ended.count(busy);
                state.ended.retries.push((open, wait));
            }
            CallEnd::NotStarted(..) => unreachable!("one execution is not started once"),
            CallEnd::Interrupted(open, why) => {
                let open = open.at_rest();
                state.running.remove(&open.record.number);
                state.closed = true;
                state.ended.interrupted.push((open, why));
            }
        }
        drop(state);
        self.news.notify_one();
    }

    /// Returns when something has ended that cannot wait for the range's next look.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

impl EndedCalls {
    fn count(&mut self, busy: Duration) {
        self.executions += 1;
        self.busy += busy;
    }
}

impl State {
    fn update_claim(&mut self, gate: &Gate) {
        // Of a batch with limits: free slots are for others meanwhile.
        let claims_nothing = self.claims_nothing || gate.is_limited();
        self.claim.set(if claims_nothing { 0 } else { self.todo.len() as u64 });
    }
}
