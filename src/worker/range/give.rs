//! Sends calls of a range away as new messages: pieces of a slow range to idle workers, the rest on a drain or hand-over,
//! suspects in messages of their own. The range gives a call up only when the send was acknowledged (H12).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::context::OpenCall;
use super::{Range, Stopped};
use crate::layout::object::MarkKind;
use crate::layout::{Message, PendingCall, RangeMessage};
use crate::limits;
use crate::model::AttemptHistory;
use crate::planted::planted;
use crate::seam::{Rng, RngExt as _};
use crate::submit::send;
use crate::worker::quarantine::Level;
use crate::worker::{Abandoned, pace};

impl Range {
    /// A message for exactly these calls, with all that is known of them.
    fn message_for(&self, histories: &BTreeMap<u64, AttemptHistory>) -> RangeMessage {
        let history =
            |history: &AttemptHistory| planted!(*history, HistoryReset => AttemptHistory::default());
        let losses = self.losses.iter().filter(|(number, _)| histories.contains_key(number));
        RangeMessage {
            id: send::message_id(&self.shared.deps),
            calls: histories.iter().map(|(number, its)| (*number, history(its))).collect(),
            mean_ms: self.mean_ms(),
            lost_before: self.level == Level::Among,
            again: true,
            losses: planted!(
                losses.map(|(number, marks)| (*number, marks.clone())).collect(),
                LossesForgotten => Default::default()
            ),
            ..self.message.clone()
        }
    }

    /// Sends the rest of this range. Ok: the queue has it now.
    async fn send_rest(&mut self, message: RangeMessage, delay: Duration) -> Result<(), Abandoned> {
        let rest = message.id;
        let sent = send::send(&self.shared.deps.queues.chunks, &Message::Range(message), delay).await;
        planted!(sent?, AmbiguousSplitBelieved => ());
        self.rest = Some(rest);
        Ok(())
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
            Some(Stopped::NotStarted) => limits::STARTS_PUT_BACK,
            Some(Stopped::Paused) => limits::PAUSED_PUT_BACK,
            _ if !self.gate.may_begin() => limits::NO_SHARE_PUT_BACK,
            _ if self.waits_elsewhere => limits::SUSPECT_WAIT,
            _ => Duration::ZERO,
        }
    }

    /// Sends calls away in one message.
    async fn give(&mut self, calls: BTreeMap<u64, OpenCall>, delay: Duration) -> bool {
        if calls.is_empty() {
            return true;
        }
        let histories = histories(&calls);
        let has_left = self.send_rest(self.message_for(&histories), delay).await.is_ok();
        self.leave(vec![(calls, has_left)]).await
    }

    /// What was acknowledged has left; the rest stays. Returns whether all has left.
    async fn leave(&mut self, sent: Vec<(BTreeMap<u64, OpenCall>, bool)>) -> bool {
        let mut gone = BTreeSet::new();
        let mut has_all_left = true;
        for (calls, has_left) in sent {
            has_all_left &= has_left;
            match has_left {
                true => gone.extend(calls.into_keys()),
                false => calls.into_values().for_each(|open| self.calls.give_back(open)),
            }
        }
        // If this worker is lost, its message comes again with all its calls, and these are not to run from it. Where nothing is
        // left of the range, the message is deleted within a moment; then all marks are voided instead. Should the delete fail, these
        // calls run twice, but count for no suspects.
        match self.runners.is_empty() && self.calls.has_begun_all() {
            true => self.void_marks().await,
            false if gone.is_empty() => {}
            false => drop(self.mark(MarkKind::Given, gone).await),
        }
        has_all_left
    }

    /// Gives up what would begin late here. If nothing waits on the queue, others may be idle: they get pieces (H19). Otherwise
    /// what is left of a long range goes behind what waits there: other batches get their turn, and a worker that is lost takes
    /// little along.
    pub(super) async fn split(&mut self) {
        if !self.is_worth_splitting() || !self.gate.has_room_elsewhere() {
            return;
        }
        let range = self
            .mean_ms()
            .map_or(0, |mean_ms| pace::calls_per_range(self.slots(), Duration::from_millis(mean_ms)));
        let is_long = self.takes_ms(self.calls.todo()) >= 2 * limits::ms(limits::RANGE)
            && self.calls.todo() >= 2 * range;
        // Taken out first, or it would be begun while the messages are on their way.
        let (kept, pieces_max) = match self.is_queue_empty().await {
            true => (self.begins_within(limits::SPLIT_REST), limits::QUEUE_BATCH_MAX),
            false if is_long => (range, 1),
            false => return,
        };
        let mut rest = self.calls.split_off(kept);
        // A call that has failed here since the log was written stays: only its message would know of the failure.
        let known = |number: &u64| self.log.pending().get(number).map_or(0, |known| known.history.attempts);
        let newer =
            rest.extract_if(.., |number, open| known(number) > 0 && open.history.attempts > known(number));
        newer.for_each(|(_, open)| self.calls.give_back(open));
        let pieces = self.pieces(rest, pieces_max);
        if pieces.is_empty() {
            return;
        }
        let messages: Vec<Message> =
            pieces.iter().map(|piece| Message::Range(self.message_for(&histories(piece)))).collect();
        let acknowledged = send::send_each(&self.shared.deps.queues.chunks, &messages).await;
        let has_left = |acknowledged: bool| planted!(acknowledged, AmbiguousSplitBelieved => true);
        self.leave(pieces.into_iter().zip(acknowledged.into_iter().map(has_left)).collect()).await;
    }

    /// A worker was lost with these calls. If this one is lost too, all that its mark names are suspects, also those that it did
    /// not begin. So it keeps calls for half a minute, or one for each slot, and the rest goes on in a new message.
    pub(super) async fn keep_few(&mut self) {
        if self.mean_ms().is_none() {
            return;
        }
        let rest = self.calls.split_off(self.begins_within(limits::RANGE).max(self.slots()));
        if rest.is_empty() {
            return;
        }
        let message = Message::Range(self.message_for(&histories(&rest)));
        let acknowledged = send::send_each(&self.shared.deps.queues.chunks, &[message]).await;
        self.leave(vec![(rest, acknowledged == [true])]).await;
    }

    /// Whether the last of what was not begun begins so late that others should have it, as far as can be told.
    pub(super) fn is_worth_splitting(&self) -> bool {
        let todo = self.calls.todo();
        if todo == 0 || self.level.is_suspect() {
            return false;
        }
        // Who has begun none may begin one in a moment: pieces that nobody begins would go round without end.
        let is_long = !self.runners.is_empty() && self.takes_ms(todo) >= limits::ms(limits::SPLIT_REST);
        is_long || self.is_stuck()
    }

    /// Whether other calls have all the slots, and have had them for long.
    fn is_stuck(&self) -> bool {
        self.runners.is_empty() && self.elapsed() >= limits::SPLIT_REST
    }

    /// How long so many calls take with all slots of a worker like this one. While none has ended, each takes at least as
    /// long as the range is here.
    fn takes_ms(&self, calls: usize) -> u64 {
        let here_ms = self.elapsed().as_millis() as u64;
        let mean_ms = self.mean_ms().unwrap_or(here_ms);
        mean_ms.saturating_mul(calls as u64) / self.slots() as u64
    }

    /// That the batch may have here.
    fn slots(&self) -> usize {
        self.gate.slots(self.shared.config.slots)
    }

    /// How long a call of the batch takes on a slot; `None` while none has ended.
    fn mean_ms(&self) -> Option<u64> {
        let here = self.shared.pace.mean_of_batch(self.message.batch);
        here.map(|mean| mean.as_millis() as u64).or(self.message.mean_ms)
    }

    /// How many calls begin here within this time; none while it is not known how long they take.
    fn begins_within(&self, time: Duration) -> usize {
        match self.mean_ms() {
            _ if self.is_stuck() => 0,
            None => 0,
            Some(mean_ms) => (limits::ms(time) * self.slots() as u64 / mean_ms.max(1)) as usize,
        }
    }

    /// At most so many pieces, and each worth a message.
    fn pieces(&self, rest: BTreeMap<u64, OpenCall>, max: usize) -> Vec<BTreeMap<u64, OpenCall>> {
        let worth = (self.takes_ms(rest.len()) / limits::ms(limits::PIECE_MIN)) as usize;
        let count = worth.clamp(1, max).min(rest.len());
        let mut pieces: Vec<BTreeMap<u64, OpenCall>> = (0..count).map(|_| BTreeMap::new()).collect();
        let calls = rest.len();
        for (index, (number, open)) in rest.into_iter().enumerate() {
            pieces[index * count / calls].insert(number, open);
        }
        pieces
    }

    async fn is_queue_empty(&self) -> bool {
        let depth = self.shared.deps.queues.chunks.live.depth().await;
        depth.is_ok_and(|depth| depth.visible == 0)
    }

    /// The end of the range: records what has ended, and sends what has not as a new message. Returns whether there was
    /// such a rest. The old message may be deleted then.
    pub(super) async fn hand_over_rest(&mut self) -> Result<bool, Abandoned> {
        self.runners.shutdown().await;
        self.settle();
        self.report_starts().await;
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
        self.send_rest(self.message_for(&rest), self.rest_delay()).await?;
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

/// When to look whether to split a range: 1, 2, 4, 8 and 16 s after it was begun, and then every 15 s. Each range stretches
/// these times by a factor of its own, or all would look at the same moment, and see what the first has just sent.
pub struct SplitLooks {
    per_mille: u64,
    done: u32,
}

impl SplitLooks {
    /// `at_once`: how long calls take is known, so the first look need not wait.
    pub fn new(rng: &dyn Rng, at_once: bool) -> SplitLooks {
        SplitLooks { per_mille: 800 + rng.below(401), done: u32::from(!at_once) }
    }

    /// Some time by the range's own factor.
    pub fn stretch(&self, time: Duration) -> Duration {
        time * self.per_mille as u32 / 1_000
    }

    /// Since the range was begun.
    pub fn next(&self) -> Duration {
        let Some(later) = self.done.checked_sub(1) else { return Duration::ZERO };
        let (doublings, further) = (later.min(4), later.saturating_sub(4));
        let next = Duration::from_secs(1 << doublings) + limits::SPLIT_LOOK_MAX * further;
        self.stretch(next)
    }

    /// Whether a look is due; looks that were missed are not made up for.
    pub fn is_due(&mut self, elapsed: Duration) -> bool {
        let is_due = elapsed >= self.next();
        while elapsed >= self.next() {
            self.done += 1;
        }
        is_due
    }
}

fn histories(calls: &BTreeMap<u64, OpenCall>) -> BTreeMap<u64, AttemptHistory> {
    calls.iter().map(|(number, open)| (*number, open.history)).collect()
}
