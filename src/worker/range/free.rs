//! The first delivery of a range, or a hand-over without suspects: calls begin as slots come free, outcomes are flushed
//! from time to time, half of what is left is offered to others when it takes long.

use std::time::Duration;

use super::{Halt, Range};
use crate::layout::{Message, RangeMessage};
use crate::limits;
use crate::planted::planted;
use crate::submit::send;
use crate::worker::batch_call::Open;
use crate::worker::phase::Phase;
use crate::worker::slots::{Class, Slot};
use crate::worker::{Abandoned, split};

impl Range {
    pub(super) async fn freely(&mut self) -> Result<Halt, Abandoned> {
        let (shared, desk) = (self.shared.clone(), self.desk.clone());
        loop {
            if let Some(halt) = self.settle().await? {
                return Ok(halt);
            }
            self.look_whether_cancelled().await;
            self.start_on_free_slots();
            if self.flush_is_due() {
                self.flush().await?;
            }
            if self.offer_is_due() {
                self.offered = shared.seams.clock.monotonic();
                split::offer(self).await;
                self.start_on_free_slots();
            }
            let may_begin = self.may_begin();
            if self.runners.is_empty() && desk.has_settled() && (desk.todo() == 0 || !may_begin) {
                return Ok(Halt::HandBack);
            }
            // Who has all the slots need not line up for one.
            let lines_up = may_begin && desk.todo() > 0 && self.runners.len() < shared.config.slots;
            let tick = self.next_tick();
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::HandBack) => return Ok(Halt::HandBack),
                Some(ended) = self.runners.join_next() => Range::joined(ended)?,
                slot = shared.slots.take(Class::Chunk), if lines_up => {
                    self.start_next(slot);
                }
                () = shared.phases.reached(Phase::Drain), if may_begin => {}
                () = desk.wants() => {}
                () = shared.seams.clock.sleep(tick) => {}
            }
        }
    }

    fn start_on_free_slots(&mut self) {
        let may_begin = self.may_begin();
        while may_begin && self.desk.todo() > 0 && !self.shared.slots.wanted(Class::Call) {
            let Some(slot) = self.shared.slots.try_take() else { break };
            if !self.start_next(slot) {
                break;
            }
        }
    }

    fn start_next(&mut self, slot: Slot) -> bool {
        let next = self.desk.take();
        let starts = next.is_some();
        if let Some(open) = next {
            self.start(open, slot);
        }
        starts
    }

    /// The wait travels with a message of its own; only an acknowledged send gives the call up (H12).
    pub(super) async fn later(&mut self, open: Open, delay: Duration) {
        let (number, tried) = (open.record.number, open.tried);
        let message = RangeMessage {
            id: send::message_id(&self.shared.seams),
            first: number,
            last: number,
            shares: 1,
            again: true,
            suspects: Vec::new(),
            tried: vec![(number, tried.attempts, tried.failures, tried.function_failures)],
            mismatch_since: None,
            ..self.message.clone()
        };
        let sent = send::send(&self.shared.seams.queues.chunks, &Message::Range(message), delay).await;
        if sent.is_err() && !planted!(AmbiguousSplitBelieved) {
            self.desk.give_back(open);
        }
    }

    /// How long what has ended may wait to be recorded.
    fn flush_interval(&self) -> Duration {
        // What is left is over soon: its end is seen early enough. And a log that several write to is written to less often
        // by each.
        let alone = self.message.shares == limits::SHARES;
        let soonest = match alone && split::is_worth_it(self) {
            true => limits::FLUSH_MS_MIN,
            false => limits::FLUSH_REST_MS_MIN,
        };
        self.paced(3, soonest)
    }

    fn flush_is_due(&self) -> bool {
        let since = self.shared.seams.clock.monotonic().saturating_sub(self.flushed);
        self.rows_bytes >= limits::FLUSH_BYTES || (since >= self.flush_interval() && !self.rows.is_empty())
    }

    /// How long to wait between two offers: whether others are idle costs a request to know.
    fn offer_interval(&self) -> Duration {
        self.paced(4, limits::OFFER_MS_MIN)
    }

    fn offer_is_due(&self) -> bool {
        let since = self.shared.seams.clock.monotonic().saturating_sub(self.offered);
        since >= self.offer_interval() && split::is_worth_it(self)
    }

    /// A share of the time that the range takes already.
    fn paced(&self, divisor: u32, soonest_ms: u64) -> Duration {
        let elapsed = self.shared.seams.clock.monotonic().saturating_sub(self.begun);
        (elapsed / divisor)
            .clamp(Duration::from_millis(soonest_ms), Duration::from_millis(limits::FLUSH_MS_MAX))
    }

    fn next_tick(&self) -> Duration {
        let flush = self.flushed + self.flush_interval();
        let offer = split::is_worth_it(self).then(|| self.offered + self.offer_interval());
        let due = offer.map_or(flush, |offer| flush.min(offer));
        due.saturating_sub(self.shared.seams.clock.monotonic()).max(Duration::from_millis(100))
    }
}
