//! The first delivery of a range, or a hand-over without suspects: calls begin as slots come free, outcomes are flushed
//! from time to time, half of what is left is offered to others when it takes long.

use std::time::Duration;

use super::{Halt, Range};
use crate::layout::chunk::Record;
use crate::layout::{Message, RangeMessage};
use crate::limits;
use crate::planted::planted;
use crate::submit::send;
use crate::worker::batch_call::Tried;
use crate::worker::phase::Phase;
use crate::worker::slots::{Class, Slot};
use crate::worker::{Abandoned, split};

impl Range {
    pub(super) async fn freely(&mut self) -> Result<Halt, Abandoned> {
        loop {
            if self.flush_is_due() {
                self.flush().await?;
                split::offer(self).await;
            }
            self.look_whether_cancelled().await;
            let may_begin = self.may_begin();
            while may_begin && !self.todo.is_empty() && !self.shared.slots.wanted(Class::Call) {
                let Some(slot) = self.shared.slots.try_take() else { break };
                self.start(slot);
            }
            if self.running.is_empty() && (self.todo.is_empty() || !may_begin) {
                return Ok(Halt::HandBack);
            }
            let shared = self.shared.clone();
            let tick = self.next_tick();
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::HandBack) => {
                    self.running.shutdown().await;
                    return Ok(Halt::HandBack);
                }
                Some(ended) = self.running.join_next() => {
                    if let Some(halt) = self.settle(ended.ok()).await? {
                        return Ok(halt);
                    }
                }
                slot = shared.slots.take(Class::Chunk), if may_begin && !self.todo.is_empty() => self.start(slot),
                () = shared.phases.reached(Phase::Drain), if may_begin => {}
                () = shared.seams.clock.sleep(tick) => {}
            }
        }
    }

    fn start(&mut self, slot: Slot) {
        if let Some((_, record)) = self.todo.pop_first() {
            self.start_record(record, slot);
        }
        self.demand.set(self.todo.len() as u64);
    }

    /// The wait travels with a message of its own; only an acknowledged send gives the call up (H12).
    pub(super) async fn later(&mut self, record: Record, tried: Tried, delay: Duration) {
        let number = record.number;
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
            self.tried.insert(number, tried);
            self.todo.insert(record.number, record);
        }
    }

    fn interval(&self) -> Duration {
        let elapsed = self.shared.seams.clock.monotonic().saturating_sub(self.begun);
        (elapsed / 4)
            .clamp(Duration::from_millis(limits::FLUSH_MS_MIN), Duration::from_millis(limits::FLUSH_MS_MAX))
    }

    fn flush_is_due(&self) -> bool {
        let since = self.shared.seams.clock.monotonic().saturating_sub(self.flushed);
        self.rows_bytes >= limits::FLUSH_BYTES || (since >= self.interval() && !self.rows.is_empty())
    }

    fn next_tick(&self) -> Duration {
        let due = self.flushed + self.interval();
        due.saturating_sub(self.shared.seams.clock.monotonic()).max(Duration::from_millis(100))
    }
}
