//! The runner of a slot takes one call of a range after another. So a call costs no new task, no handing over of a slot and
//! no message to the range.

use std::time::Duration;

use bytes::Bytes;

use super::calls::CallQueue;
use super::context::{CallContext, CallEnd, CallExecution, Interruption, OpenCall};
use crate::layout::part::RowResult;
use crate::limits;
use crate::model::Time;
use crate::seam::executor::{Calls, Execution, Fault, Invocation, Verdict};
use crate::seam::{Body, ExecutionLog};
use crate::worker::Shared;
use crate::worker::attempt::{self, AttemptEnd, Policy};
use crate::worker::phase::Phase;
use crate::worker::slots::{Class, Slot};

/// How long a runner keeps its slot while another chunk waits for one.
const TURN: Duration = limits::RANGES_AHEAD;
/// A call that took longer than this lets a single call have its slot first.
const LONG_CALL: Duration = Duration::from_secs(1);

/// Runs `open` on a slot, and then what is next as long as that may begin.
pub async fn run(
    shared: &Shared,
    context: &CallContext,
    calls: &CallQueue,
    open: OpenCall,
    until: Duration,
    slot: Slot,
) {
    let _among_others = shared.quarantine.among_others().await;
    let gate = calls.gate().clone();
    let turn_ends = shared.deps.clock.monotonic() + TURN;
    let mut runner = Runner {
        shared,
        context,
        calls,
        until,
        turn_ends,
        has_permit: false,
        ahead: None,
        in_hand: None,
        rest: None,
    };
    let mut next = Some(open);
    while let Some(open) = next {
        runner.has_permit = open.permit.is_some();
        if let Some(work) = runner.begin(open) {
            let run = gate.while_held(runner.has_permit, shared.executor.run_many(work, &mut runner)).await;
            if let (None, Some(cut_off)) = (run, runner.in_hand.take()) {
                let busy = shared.deps.clock.monotonic().saturating_sub(cut_off.begun);
                calls.ended(CallEnd::Interrupted(cut_off.open, Interruption::CutOff), busy);
                break;
            }
        }
        if runner.in_hand.is_some() {
            runner.ended(Err(Fault::Worker("the executor was closed".to_owned())));
        }
        let Some((open, execution)) = runner.rest.take() else {
            next = runner.ahead.take();
            continue;
        };
        let begun = shared.deps.clock.monotonic();
        let (end, busy) = match execution {
            Some((execution, busy)) => (context.conclude(shared, open, execution).await, busy),
            None => {
                // Cut off, it stays among those that run, and is handed over with them.
                let has_permit = open.permit.is_some();
                let run = context.run(shared, open, |log| calls.begins(log));
                let Some(end) = gate.while_held(has_permit, run).await else { break };
                (end, shared.deps.clock.monotonic().saturating_sub(begun))
            }
        };
        shared.pace.record(shared.deps.clock.monotonic(), busy);
        let stops =
            matches!(&end, CallEnd::Interrupted(_, why) if !matches!(why, Interruption::NotStored(_)));
        calls.ended(end, busy);
        if !stops && busy >= LONG_CALL {
            shared.calls_first.ask().await;
        }
        next = if stops { None } else { runner.take() };
    }
    drop(slot);
}

struct Runner<'a> {
    shared: &'a Shared,
    context: &'a CallContext,
    calls: &'a CallQueue,
    /// Nothing begins after this.
    until: Duration,
    turn_ends: Duration,
    /// Whether the calls that run one after another now have a permit each. They are cut off together when the worker's share
    /// lapses, so that none is among them that was begun before there were limits.
    has_permit: bool,
    /// Taken, and not to be among them.
    ahead: Option<OpenCall>,
    in_hand: Option<InHand>,
    /// A call that does not end with a plain success, with its execution and the time that took; or one whose payload
    /// lies beside the chunk, without.
    rest: Option<(OpenCall, Option<(CallExecution, Duration)>)>,
}

struct InHand {
    open: OpenCall,
    taken_at: Time,
    begun: Duration,
    execution_log: ExecutionLog,
}

impl Runner<'_> {
    /// The range's next call, unless others are first or nothing may begin.
    fn take(&mut self) -> Option<OpenCall> {
        let Shared { phases, deps, slots, quarantine, .. } = self.shared;
        let now = deps.clock.monotonic();
        let others_first = slots.wanted(Class::Call)
            || (now >= self.turn_ends && slots.wanted(Class::Chunk))
            || quarantine.is_closed();
        if phases.now() != Phase::Run || now >= self.until || others_first {
            return None;
        }
        self.calls.take()
    }

    /// `None`: its payload lies beside the chunk, or in a bucket of the user, and is fetched first.
    fn begin(&mut self, open: OpenCall) -> Option<Invocation> {
        if open.record.input.is_some() || open.record.object.is_some() {
            self.rest = Some((open, None));
            return None;
        }
        let (taken_at, begun) = (self.shared.deps.now(), self.shared.deps.clock.monotonic());
        let payload = open.record.payload.clone().into();
        let work = self.context.invocation(&open.record, payload, open.history.next_attempt());
        self.calls.begins(&work.execution_log);
        self.in_hand = Some(InHand { open, taken_at, begun, execution_log: work.execution_log.clone() });
        Some(work)
    }
}

impl Calls for Runner<'_> {
    fn next(&mut self) -> Option<Invocation> {
        if self.rest.is_some() {
            return None;
        }
        let open = self.take()?;
        if open.permit.is_some() != self.has_permit {
            self.ahead = Some(open);
            return None;
        }
        self.begin(open)
    }

    fn ended(&mut self, run: Result<Execution, Fault>) {
        let Some(InHand { mut open, taken_at, begun, execution_log }) = self.in_hand.take() else { return };
        let busy = self.shared.deps.clock.monotonic().saturating_sub(begun);
        let run = match run {
            Ok(run) if busy < LONG_CALL => match inline(run) {
                Ok((run, bytes)) => {
                    // A success is decided whatever the policy.
                    let policy = Policy { attempts_max: 1, backoff_ms: 0 };
                    attempt::next(&mut open.history, AttemptEnd::Succeeded, &policy);
                    let (number, result) = (open.record.number, RowResult::Inline(bytes));
                    let row = self.context.row(self.shared, number, open.history, taken_at, run, result);
                    self.shared.pace.record(begun + busy, busy);
                    return self.calls.decided(row, busy);
                }
                Err(run) => Ok(run),
            },
            run => run,
        };
        self.rest = Some((open, Some((CallExecution { taken_at, execution_log, run }, busy))));
    }
}

/// A success with what it has as its result, if that lies in memory and fits into a row.
fn inline(mut run: Execution) -> Result<(Execution, Bytes), Execution> {
    match &mut run.verdict {
        Verdict::Success { body: Body::Bytes(body), .. }
            if body.len() as u64 <= limits::RESULT_INLINE_BYTES_MAX =>
        {
            let bytes = std::mem::take(body);
            Ok((run, bytes))
        }
        _ => Err(run),
    }
}
