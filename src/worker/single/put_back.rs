//! Puts a single call back on the queue: it was not begun, was cut off, waits for a retry or for a worker of its own, does not
//! suit this worker, or cannot be read.

use std::time::Duration;

use super::SingleCall;
use crate::error::Error;
use crate::event::Event;
use crate::layout::object;
use crate::layout::{CallMessage, Key, Message, metadata};
use crate::limits;
use crate::model::{AppName, CallFacts, CallRef, DeliveryId, MarkId, MessageId, QueueName, State, Time};
use crate::seam::StoreExt as _;
use crate::seam::executor::Mismatch;
use crate::submit::send;
use crate::worker::done::{Done, PutAside};
use crate::worker::lease::Lease;
use crate::worker::marks::{self, EarlierMark, MarkLocation};
use crate::worker::phase::Phase;
use crate::worker::quarantine::{self, Level};
use crate::worker::record::AttemptOutput;
use crate::worker::unreadable::{Failed, ReadFailure};
use crate::worker::{Abandoned, Shared};

/// It has not begun: others may have it at once. As a new message, or it would look to them as if this worker had been
/// lost with it; one that came before is given back, since its marks go by its id.
pub(super) async fn hand_on(shared: &Shared, lease: Lease, mut message: CallMessage) -> Done {
    let delivery = DeliveryId { message: message.id, delivery: lease.delivery };
    let is_anew = lease.delivery == 1 || lease.delivery > limits::PUT_BACK_COUNT_MAX;
    // Put back too often, a message comes near the queue's own limit (N1). It takes the names of its loss marks along.
    let place = MarkLocation::Call(message.app.clone(), message.call);
    if is_anew && let Ok(lost) = marks::of_earlier_deliveries(shared, &place, delivery).await {
        message.losses = losses(&message, &lost).into_iter().map(|mark| mark.delivery).collect();
        message.id = send::message_id(&shared.deps);
        if send::send(&shared.deps.queues.calls, &Message::Call(message), Duration::ZERO).await.is_ok() {
            return Done::Replaced { lease, handed_back: false };
        }
    }
    let _ = lease.give_back(Duration::ZERO).await;
    Done::Left
}

/// The names of loss marks: those that the message carries, and those of its earlier deliveries.
pub(super) fn losses(message: &CallMessage, lost: &[EarlierMark]) -> Vec<MarkId> {
    let carried = message.losses.iter().map(|delivery| MarkId { delivery: *delivery, n: 1 });
    let found = lost.iter().filter(|mark| mark.kind.names_losses()).map(|mark| mark.id);
    quarantine::more_losses(carried.collect(), found)
}

impl SingleCall {
    /// This worker is busy with other calls, or with another suspect: another worker may be sooner.
    pub(super) async fn wait_elsewhere(mut self) -> Result<Done, Abandoned> {
        if !self.level.is_suspect() || self.shared.phases.now() > Phase::Run {
            return self.replace(Duration::ZERO, true).await;
        }
        if self.level == Level::Alone {
            let began = self.shared.deps.now().minus_ms(limits::ms(limits::SUSPECT_WAIT));
            self.message.alone_since.get_or_insert(began);
        }
        self.replace(limits::SUSPECT_WAIT, false).await
    }

    pub(super) async fn replace(self, delay: Duration, handed_back: bool) -> Result<Done, Abandoned> {
        let (lease, _) = self.send_anew(delay).await?;
        Ok(Done::Replaced { lease, handed_back })
    }

    /// Sends a message that carries all that is known, in place of the present one, which may be deleted once the send
    /// is acknowledged. Returns the id of the new one.
    async fn send_anew(self, delay: Duration) -> Result<(Lease, MessageId), Abandoned> {
        // The worker outlived what it ran. A crash between the send and the deletion brings the old message again, without a mark.
        if self.marked {
            marks::void(&self.shared, &self.place, self.delivery).await?;
        }
        let mut message = self.message;
        let id = send::message_id(&self.shared.deps);
        (message.id, message.again, message.history) = (id, false, self.history);
        send::send(&self.shared.deps.queues.calls, &Message::Call(message), delay).await?;
        Ok((self.lease, id))
    }

    /// A queue that delivers before the time is up (a re-sent message, a clock that runs ahead). A message that a worker may have
    /// been lost with is put back itself, or nobody would know of that.
    pub(super) async fn put_back_until(self, not_before: Time) -> Result<Done, Abandoned> {
        let wait_ms = not_before.since_ms(self.shared.deps.now()).min(limits::ms(limits::DELAY_MAX));
        let wait = Duration::from_millis(wait_ms);
        if (2..=limits::PUT_BACK_COUNT_MAX).contains(&self.lease.delivery) {
            self.lease.give_back(wait).await?;
            return Ok(Done::Left);
        }
        self.replace(wait, false).await
    }

    /// This version cannot run here. The message goes back for a moment: a mismatch never decides a call, unless it was not
    /// started within two weeks.
    pub(super) async fn put_back_mismatched(
        self,
        facts: CallFacts,
        mismatch: Mismatch,
    ) -> Result<Done, Abandoned> {
        self.report_mismatch(&mismatch).await?;
        if self.history.attempts == 0 && self.shared.is_too_late_to_start(facts.created_at).await? {
            let reason = format!("not started within 14 days: {mismatch}");
            let outcome = self.outcome(&facts, State::Error, Some(reason));
            return self.finish(outcome, AttemptOutput::default()).await;
        }
        self.leave_to_others(mismatch).await
    }

    /// The message goes back for a moment, and this worker waits before it receives the next one.
    pub(super) async fn leave_to_others(self, mismatch: Mismatch) -> Result<Done, Abandoned> {
        let wait = limits::MISMATCH_PUT_BACK;
        if self.lease.delivery <= limits::PUT_BACK_COUNT_MAX {
            let (id, why) = (self.message.id, mismatch.to_string());
            self.lease.give_back(wait).await?;
            return Ok(Done::Mismatched(PutAside { lease: None, id, new_id: id, batch: None, wait, why }));
        }
        self.replace_mismatched(mismatch).await
    }

    /// It turned out only as it was started.
    pub(super) async fn replace_after_mismatch(self, mismatch: Mismatch) -> Result<Done, Abandoned> {
        self.report_mismatch(&mismatch).await?;
        self.replace_mismatched(mismatch).await
    }

    async fn replace_mismatched(self, mismatch: Mismatch) -> Result<Done, Abandoned> {
        let (id, why) = (self.message.id, mismatch.to_string());
        let wait = limits::MISMATCH_PUT_BACK;
        let (lease, new_id) = self.send_anew(wait).await?;
        Ok(Done::Mismatched(PutAside { lease: Some(lease), id, new_id, batch: None, wait, why }))
    }

    /// Its objects cannot be read, or could not be reached. Past the put-backs the outcome says so, if there can be one.
    pub(super) async fn settle_unread(self, error: Error) -> Result<Done, Abandoned> {
        let (app, call) = (self.message.app.clone(), self.message.call);
        let error = match ReadFailure::of(error, self.lease.delivery) {
            ReadFailure::GivenUp(error) => match self.facts(&app).await? {
                Ok(facts) => {
                    let reason = format!("it could not be read: {error}");
                    let outcome = self.outcome(&facts, State::Error, Some(reason));
                    return self.finish(outcome, AttemptOutput::default()).await;
                }
                Err(_) => error,
            },
            ReadFailure::Other(error) | ReadFailure::Unreadable(error) => error,
        };
        let failed = Failed {
            queue: QueueName::Calls,
            held: self.lease.held_receipt(),
            delivery: self.lease.delivery,
            id: self.message.id,
            batch: None,
            what: format!("read what call {call} of app {app} needs"),
        };
        failed.settle(&self.shared, error, || Message::Call(self.message.clone())).await
    }

    /// The call's facts alone, or why they cannot be read.
    async fn facts(&self, app: &AppName) -> Result<Result<CallFacts, Error>, Abandoned> {
        let key = Key::Payload(app.clone(), self.message.call);
        let info = self.shared.deps.store.head(&key).await?;
        Ok(metadata::decode(&key, info.metadata.as_deref().unwrap_or_default()))
    }

    /// The first worker that cannot run it says so, for `status`.
    async fn report_mismatch(&self, mismatch: &Mismatch) -> Result<(), Abandoned> {
        let (app, call) = (self.message.app.clone(), self.message.call);
        self.shared.emit(Event::CallMismatched { app: app.clone(), call, why: mismatch.to_string() });
        if self.lease.delivery > 1 {
            return Ok(());
        }
        let worker = self.shared.config.name.clone();
        let (why, at) = (mismatch.to_string(), self.shared.deps.now());
        let unsuited = object::Unsuited { why, worker, at, failed_starts: None };
        let of = CallRef { app, call };
        self.shared.deps.store.put_fact(&(of, self.message.id), &unsuited).await?;
        Ok(())
    }
}
