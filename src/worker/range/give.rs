//! Sends calls of a range away as new messages: half of a slow range to idle workers, the rest on a drain or hand-over,
//! suspects in messages of their own. The range gives a call up only when the send was acknowledged (H12).

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::OpenCall;
use super::{Range, Stopped};
use crate::layout::object::MarkKind;
use crate::layout::{Message, PendingCall, RangeMessage};
use crate::limits;
use crate::model::AttemptHistory;
use crate::planted::planted;
use crate::submit::send;
use crate::worker::Abandoned;

impl Range {
    /// A message for exactly these calls, with all that is known of them.
    fn message_for(&self, histories: &BTreeMap<u64, AttemptHistory>) -> RangeMessage {
        let history =
            |history: &AttemptHistory| planted!(*history, HistoryReset => AttemptHistory::default());
        let losses = self.losses.iter().filter(|(number, _)| histories.contains_key(number));
        RangeMessage {
            id: send::message_id(&self.shared.deps),
            calls: histories.iter().map(|(number, its)| (*number, history(its))).collect(),
            again: true,
            losses: planted!(
                losses.map(|(number, marks)| (*number, marks.clone())).collect(),
                LossesForgotten => Default::default()
            ),
            ..self.message.clone()
        }
    }

    /// Whether the queue has it now.
    async fn send(&self, message: RangeMessage, delay: Duration) -> Result<(), Abandoned> {
        let sent = send::send(&self.shared.deps.queues.chunks, &Message::Range(message), delay).await;
        planted!(Ok(sent?), AmbiguousSplitBelieved => Ok(()))
    }

    /// Once nothing new may begin: gives what was not begun to others at once, and records what waits for a retry. What
    /// runs goes on.
    pub(super) async fn give_rest(&mut self) {
        let now = self.shared.deps.clock.monotonic();
        for (due, open) in self.calls.take_waiting().into_values() {
            self.make_pending(&open, due.saturating_sub(now));
        }
        let mut todo = self.calls.take_todo();
        for (number, open) in &todo {
            self.carry_attempts_over(*number, open.history);
        }
        todo.retain(|number, _| !self.addition.pending.contains_key(number));
        self.has_given |= !todo.is_empty() && self.give(todo, self.rest_delay()).await;
    }

    /// A call that the log knows as pending, and that has failed here since: what the log knows must not outlive that, or it
    /// would be sent again with a failure forgotten. It is pending anew, due at once.
    fn carry_attempts_over(&mut self, number: u64, history: AttemptHistory) {
        let known = self.log.pending().get(&number).map(|known| known.history.attempts);
        if known.is_some_and(|known| known < history.attempts) {
            let due = self.shared.deps.now();
            self.addition.pending.insert(number, PendingCall { due, history });
        }
    }

    /// A version that does not suit this worker is put back for a moment, so that others meet it first.
    fn rest_delay(&self) -> Duration {
        match self.stopped {
            Some(Stopped::Mismatch) => limits::MISMATCH_PUT_BACK,
            _ if self.waits_elsewhere => limits::SUSPECT_WAIT,
            _ => Duration::ZERO,
        }
    }

    /// Sends calls away; they stay here if the send was not acknowledged. Returns whether they left.
    async fn give(&mut self, calls: BTreeMap<u64, OpenCall>, delay: Duration) -> bool {
        if calls.is_empty() {
            return true;
        }
        let histories: BTreeMap<u64, AttemptHistory> =
            calls.iter().map(|(number, open)| (*number, open.history)).collect();
        if self.send(self.message_for(&histories), delay).await.is_err() {
            calls.into_values().for_each(|open| self.calls.give_back(open));
            return false;
        }
        // If this worker is lost, its message comes again with all its calls, and these are not to run from it. Where nothing is
        // left of the range, the message is deleted at once.
        if !self.runners.is_empty() || !self.calls.is_begun() {
            let _ = self.mark(MarkKind::Given, histories.into_keys()).await;
        }
        true
    }

    /// Gives half of the calls not begun to others when what is left takes long and nothing else waits for whoever is idle
    /// (H19).
    pub(super) async fn offer_half(&mut self) {
        if !self.is_worth_sharing() || !self.is_queue_empty().await {
            return;
        }
        // Taken out first, or it would be begun while the message is on its way.
        let half = self.calls.split_off_half();
        let shares = self.message.shares;
        self.message.shares = shares / 2;
        if half.is_empty() || !self.give(half, Duration::ZERO).await {
            self.message.shares = shares;
        }
    }

    /// Whether what is left takes so long that half of it should be somebody else's, as far as can be told.
    pub(super) fn is_worth_sharing(&self) -> bool {
        let (slots, todo) = (self.shared.config.slots as u64, self.calls.todo() as u64);
        if self.message.shares < 2 || todo < 2 * slots || self.level != super::Level::Normal {
            return false;
        }
        let mean_ms = (self.busy.as_millis() as u64).checked_div(self.executions);
        mean_ms.is_none_or(|mean_ms| mean_ms * todo / slots >= limits::ms(limits::SPLIT_REST))
    }

    /// As the worker's last receive found it, or as the queue says: who has work in hand receives nothing.
    async fn is_queue_empty(&self) -> bool {
        let deps = &self.shared.deps;
        self.shared.prefetch.saw_empty_queue(deps.clock.monotonic())
            || matches!(deps.queues.chunks.live.depth().await, Ok(depth) if depth.visible == 0)
    }

    /// The end of the range: records what has ended, and sends what has not as a new message. Returns whether there was
    /// such a rest. The old message may be deleted then.
    pub(super) async fn hand_over_rest(&mut self) -> Result<bool, Abandoned> {
        self.runners.shutdown().await;
        self.settle();
        let now = self.shared.deps.clock.monotonic();
        for (due, open) in self.calls.take_waiting().into_values() {
            self.make_pending(&open, due.saturating_sub(now));
        }
        let mut rest = planted!(self.calls.take_running(), HandOverForgetsRunning => BTreeMap::new());
        self.flush().await?;
        rest.extend(self.calls.take_todo().into_iter().map(|(number, open)| (number, open.history)));
        rest.retain(|number, history| self.log.may_run(*number, history));
        for (number, history) in &rest {
            self.carry_attempts_over(*number, *history);
        }
        rest.retain(|number, _| !self.addition.pending.contains_key(number));
        self.flush().await?;
        if rest.is_empty() {
            return Ok(false);
        }
        self.send(self.message_for(&rest), self.rest_delay()).await?;
        Ok(true)
    }

    /// Sends suspects away, one message for each unit. The delay lets this worker delete the old message first. If a unit killed the worker
    /// before that, all units would be sent twice.
    pub(super) async fn give_units(
        &mut self,
        units: Vec<BTreeMap<u64, AttemptHistory>>,
    ) -> Result<(), Abandoned> {
        let mut outgoing = Vec::with_capacity(units.len());
        for unit in &units {
            outgoing.push(Message::Range(self.message_for(unit)));
        }
        send::send_all(&self.shared.deps.queues.chunks, &outgoing, limits::UNIT_DELAY).await?;
        Ok(())
    }
}
