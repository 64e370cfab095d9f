//! The normal way to run a range. Calls begin as slots come free, and outcomes are recorded from time to time. What would
//! begin late goes to others in pieces.

use std::time::Duration;

use super::{Range, Stopped};
use crate::layout::object::MarkKind;
use crate::limits;
use crate::worker::Abandoned;
use crate::worker::phase::Phase;
use crate::worker::quarantine::Level;
use crate::worker::slots::{Class, Slot};

/// A range that can begin nothing for so long because another call has the worker to itself goes to others.
const CLOSED_MAX: Duration = limits::BEGIN_WITHIN;

impl Range {
    pub(super) async fn run_pipelined(&mut self) -> Result<(), Abandoned> {
        let (shared, calls, gate) = (self.shared.clone(), self.calls.clone(), self.gate.clone());
        if self.level == Level::Among && !calls.has_begun_all() {
            self.keep_few().await;
            self.mark(MarkKind::Among, calls.numbers()).await?;
        }
        let mut closed_since = None;
        loop {
            self.settle();
            self.report_starts().await;
            self.look_at_batch().await;
            calls.wake(shared.deps.clock.monotonic());
            self.give_up_if_closed(&mut closed_since);
            if !self.may_begin() && !self.cancelled && !calls.has_begun_all() {
                self.stopped.get_or_insert(Stopped::HandOver);
                self.give_rest().await;
            }
            self.forget_old_retries().await;
            let gate_changed = gate.changed();
            self.start_on_free_slots();
            if self.flush_is_due() {
                self.flush().await?;
            }
            self.tell_that_it_runs().await?;
            if self.split_looks.is_due(self.elapsed()) && self.may_begin() {
                self.split().await;
                self.start_on_free_slots();
            }
            let may_begin = self.may_begin();
            if self.runners.is_empty() && calls.has_settled() && (calls.has_begun_all() || !may_begin) {
                return Ok(());
            }
            // Who has all the slots need not line up for one.
            let waits_for_gate = calls.todo() > 0 && !gate.may_begin();
            let lines_up =
                may_begin && calls.todo() > 0 && !waits_for_gate && self.runners.len() < shared.config.slots;
            let next = self.next_look();
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::HandBack) => return Ok(()),
                Some(ended) = self.runners.join_next() => Range::joined(ended),
                slot = shared.slots.take(Class::Chunk), if lines_up => self.start_next(slot),
                () = shared.phases.reached(Phase::Drain), if may_begin => {}
                () = calls.news() => {}
                () = gate_changed, if waits_for_gate => {}
                () = shared.deps.clock.sleep(next) => {}
            }
        }
    }

    /// Retries that have waited here for long: another message may have brought them further meanwhile. Tried once; what is
    /// not known is decided by the append.
    async fn forget_old_retries(&mut self) {
        let now = self.shared.deps.clock.monotonic();
        let is_old = now.saturating_sub(self.log_read) >= limits::RETRY_LOG_AGE;
        if !is_old || !self.calls.has_retries() {
            return;
        }
        self.log_read = now;
        if self.log.catch_up(&*self.shared.deps.store).await.is_ok() {
            let log = &self.log;
            self.calls.retain_histories(|number, history| log.may_run(number, history));
        }
    }

    /// While a call has the worker to itself nothing of this range can begin: others may be idle.
    fn give_up_if_closed(&mut self, closed_since: &mut Option<Duration>) {
        let is_closed =
            self.shared.quarantine.is_closed() && self.runners.is_empty() && self.calls.todo() > 0;
        let now = self.shared.deps.clock.monotonic();
        match (is_closed, *closed_since) {
            (false, _) => *closed_since = None,
            (true, None) => *closed_since = Some(now),
            (true, Some(since)) if now.saturating_sub(since) >= CLOSED_MAX => {
                self.stopped.get_or_insert(Stopped::HandOver);
            }
            (true, Some(_)) => {}
        }
    }

    fn start_on_free_slots(&mut self) {
        let may_begin = self.may_begin() && !self.shared.quarantine.is_closed();
        while may_begin && self.calls.todo() > 0 && !self.shared.slots.wanted(Class::Call) {
            let Some(slot) = self.shared.slots.try_take() else { break };
            let Some(open) = self.calls.take() else { break };
            self.start(open, slot);
        }
    }

    fn start_next(&mut self, slot: Slot) {
        if let Some(open) = self.calls.take() {
            self.start(open, slot);
        }
    }

    /// How long what has ended may wait to be recorded.
    fn flush_interval(&self) -> Duration {
        if self.has_failures && self.brakes_soon() {
            return limits::BRAKE_LOOK;
        }
        // The next worker may be lost too.
        if self.lease.delivery > 1 {
            return limits::FLUSH_MIN;
        }
        // A range whose rest is over soon need not be recorded before; and a log that several workers write to has less of each.
        let soonest = match !self.is_piece && self.is_worth_splitting() {
            true => limits::FLUSH_MIN,
            // A failure that was not recorded when its worker is lost does not count: the call gets an attempt more.
            false if !self.addition.pending.is_empty() => limits::FLUSH_PENDING_MIN,
            false => limits::FLUSH_REST_MIN,
        };
        (self.elapsed() / 3).clamp(soonest, limits::FLUSH_MAX)
    }

    fn flush_is_due(&self) -> bool {
        let since = self.shared.deps.clock.monotonic().saturating_sub(self.flushed);
        let has_news = !self.addition.rows.is_empty() || !self.addition.pending.is_empty();
        // Whoever is to run a retry must know of it before this worker is gone.
        let is_leaving = self.stopped.is_some() && !self.addition.pending.is_empty();
        self.rows_bytes >= limits::FLUSH_BYTES || is_leaving || (has_news && since >= self.flush_interval())
    }

    /// Since the range was begun.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.deps.clock.monotonic().saturating_sub(self.begun)
    }

    fn brakes_soon(&self) -> bool {
        self.context.batch.brakes_soon(self.shared.deps.now())
    }

    fn cancel_look_interval(&self) -> Duration {
        if self.brakes_soon() {
            return limits::BRAKE_LOOK;
        }
        (self.elapsed() / 10).clamp(limits::CANCEL_LOOK_MIN, limits::CANCEL_LOOK_MAX)
    }

    /// How long nothing is due, unless something ends.
    fn next_look(&self) -> Duration {
        let has_news = !self.addition.rows.is_empty() || !self.addition.pending.is_empty();
        let splits = self.may_begin() && self.calls.todo() > 0 && !self.level.is_suspect();
        let closed = self.calls.todo() > 0 && self.shared.quarantine.is_closed();
        let now = self.shared.deps.clock.monotonic();
        let flush = self.flushed + self.flush_interval();
        let due = [
            has_news.then_some(flush),
            // A runner adds rows without waking this loop, so look again at the next flush, but no sooner than `FLUSH_MIN`.
            (!self.runners.is_empty()).then(|| flush.max(now + limits::FLUSH_MIN)),
            splits.then(|| self.begun + self.split_looks.next()),
            self.calls.next_due(),
            self.next_tell().filter(|_| !self.runners.is_empty()).map(|after| self.begun + after),
            closed.then(|| now + CLOSED_MAX),
            self.calls.has_retries().then(|| self.log_read + limits::RETRY_LOG_AGE),
            self.gate.next_look(),
            // Whether the batch was cancelled, and whether the lease is still young enough.
            Some(now + self.cancel_look_interval()),
        ];
        let due = due.into_iter().flatten().min().unwrap_or(now);
        due.saturating_sub(now).max(Duration::from_millis(1))
    }
}
