//! Runs a unit of suspects, which are the only suspects on their worker. They are marked before they run, and recorded as soon as
//! the last of them has ended.

use std::time::Duration;

use super::{Range, Stopped};
use crate::layout::object::MarkKind;
use crate::limits;
use crate::model::BatchRef;
use crate::worker::Abandoned;
use crate::worker::phase::Phase;
use crate::worker::quarantine::{self, Level};
use crate::worker::slots::Class;

/// From one look to the next whether a suspect of a batch with limits may begin.
const UNIT_LOOK: Duration = Duration::from_millis(100);

impl Range {
    pub(super) async fn run_unit(&mut self) -> Result<(), Abandoned> {
        // Refused records and condemned calls.
        self.flush().await?;
        if self.calls.has_begun_all() {
            return Ok(());
        }
        let shared = self.shared.clone();
        if self.lease.delivery > 2 {
            // It was read, and may wait long. Should this worker be lost meanwhile, it was not lost while reading:
            // `mark_reading_or_give_up` counts only deliveries that left no other mark.
            self.mark(MarkKind::Running, []).await?;
        }
        if !self.gate.may_begin() {
            self.stopped.get_or_insert(Stopped::HandOver);
            return Ok(());
        }
        let permit = tokio::select! {
            biased;
            () = shared.phases.reached(Phase::Drain) => None,
            () = self.is_cancelled_meanwhile() => None,
            permit = quarantine::enter(&shared, self.level, Class::Chunk, self.message.alone_since) => permit,
        };
        let Some(permit) = permit else {
            self.look_at_batch().await;
            if !self.cancelled {
                self.wait_elsewhere();
            }
            return Ok(());
        };
        // Others of the batch may take the next start that its rate allows.
        for _ in 0..limits::NO_SHARE_PUT_BACK.as_millis() / UNIT_LOOK.as_millis() {
            if self.gate.may_begin() {
                break;
            }
            tokio::select! {
                biased;
                () = shared.phases.reached(Phase::Drain) => break,
                () = shared.deps.clock.sleep(UNIT_LOOK) => {}
            }
        }
        if !self.gate.may_begin() {
            self.stopped.get_or_insert(Stopped::HandOver);
            return Ok(());
        }
        self.mark(self.level.mark_kind(), self.calls.numbers()).await?;
        while self.may_begin()
            && let Some(open) = self.calls.take()
        {
            let (begun, has_permit) = (shared.deps.clock.monotonic(), open.permit.is_some());
            let (context, calls) = (self.context.clone(), self.calls.clone());
            let end = tokio::select! {
                biased;
                () = shared.phases.reached(Phase::HandBack) => return Ok(()),
                () = self.is_cancelled_meanwhile() => None,
                () = self.gate.lapsed(), if has_permit => None,
                end = context.run(&shared, open, |log| calls.begins(log)) => Some(end),
            };
            let Some(end) = end else {
                self.look_at_batch().await;
                return Ok(());
            };
            let busy = shared.deps.clock.monotonic().saturating_sub(begun);
            self.calls.ended(end, busy);
            self.settle();
            self.report_starts().await;
            // A unit is one execution of each of its calls: a retry, however soon, is a message of its own.
            for (due, open) in self.calls.take_waiting().into_values() {
                self.make_pending(&open, due.saturating_sub(begun + busy));
            }
        }
        if self.calls.reached_failures().is_some() {
            self.look_at_batch().await;
        }
        // Before another suspect may run here, and take this worker along.
        let flushed = self.flush().await;
        drop(permit);
        flushed
    }

    /// Returns when the batch was cancelled. Renews this worker's share of its limits meanwhile.
    async fn is_cancelled_meanwhile(&self) {
        let of = BatchRef::new(&self.message.app, self.message.batch);
        loop {
            self.shared.deps.clock.sleep(limits::CANCEL_LOOK_MIN).await;
            let Ok(requests) = self.shared.batches.requests(&of.app, of.batch).await else { continue };
            if requests.cancelled.is_some() {
                return;
            }
            self.shared.limiter.update(&self.gate, &of, requests.orders).await;
        }
    }

    /// This worker is busy with another suspect, or with other calls: another worker may be sooner.
    fn wait_elsewhere(&mut self) {
        self.stopped.get_or_insert(Stopped::HandOver);
        if self.shared.phases.now() != Phase::Run {
            return;
        }
        self.waits_elsewhere = true;
        if self.level == Level::Alone {
            let began = self.shared.deps.now().minus_ms(limits::ms(limits::SUSPECT_WAIT));
            self.message.alone_since.get_or_insert(began);
        }
    }
}
