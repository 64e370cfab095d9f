//! Puts the message of a range back on the queue: this worker cannot work on it now.

use std::collections::BTreeMap;
use std::time::Duration;

use super::prepare::Preparation;
use crate::event::Event;
use crate::layout::object::{self, Unsuited};
use crate::layout::{Key, Message, RangeMessage};
use crate::limits;
use crate::model::{AttemptHistory, Digest, MessageId, State};
use crate::planted::planted;
use crate::seam::executor::Mismatch;
use crate::seam::store::{List, PutObject};
use crate::submit::send;
use crate::worker::done::{Done, PutAside};
use crate::worker::lease::Lease;
use crate::worker::{Abandoned, Shared};

impl Preparation {
    /// This version cannot run here. The message goes back for a moment: a mismatch never decides a call, unless none of
    /// the batch was started within two weeks.
    pub(super) async fn put_back_mismatched(self, mismatch: Mismatch) -> Result<Done, Abandoned> {
        let (app, batch, why) = (self.message.app.clone(), self.message.batch, mismatch.to_string());
        self.shared.emit(Event::BatchMismatched { app, batch, why: why.clone() });
        if planted!(self.is_not_started_for_too_long().await?, MismatchDecides => true) {
            return self.decide_unread(State::Error, format!("not started within 14 days: {why}")).await;
        }
        record_mismatch(&self.shared, &self.message, why.clone()).await;
        self.leave_to_others(why).await
    }

    /// The message goes back for a moment, and this worker waits before it receives the next one.
    pub(super) async fn leave_to_others(self, why: String) -> Result<Done, Abandoned> {
        let (id, batch, wait) = (self.message.id, Some(self.message.batch), limits::MISMATCH_PUT_BACK);
        if self.lease.delivery <= limits::PUT_BACK_COUNT_MAX {
            self.lease.give_back(wait).await?;
            return Ok(Done::Mismatched(PutAside { lease: None, id, new_id: id, batch, wait, why }));
        }
        // Put back too often, a message comes near the queue's own limit (N1).
        Ok(match self.send_anew(wait).await? {
            (lease, Some(new_id)) => {
                Done::Mismatched(PutAside { lease: Some(lease), id, new_id, batch, wait, why })
            }
            (lease, None) => Done::Finished(lease),
        })
    }

    /// Sends a new message for the calls that have not left this one. Returns its id, or `None` if there are no such calls.
    pub(super) async fn send_anew(mut self, wait: Duration) -> Result<(Lease, Option<MessageId>), Abandoned> {
        let losses = self.losses();
        let each = self.message.calls.each().filter(|(number, _)| !self.is_given(*number));
        let left: BTreeMap<u64, AttemptHistory> = each.map(|(number, history)| (number, *history)).collect();
        if left.is_empty() {
            return Ok((self.lease, None));
        }
        let each = left.keys().map(|number| (*number, losses(*number)));
        self.message.losses = each.filter(|(_, marks)| !marks.is_empty()).collect();
        self.message.calls = left.into_iter().collect();
        self.message.id = send::message_id(&self.shared.deps);
        self.message.again = true;
        let id = self.message.id;
        let message = Message::Range(self.message);
        send::send(&self.shared.deps.queues.chunks, &message, wait).await?;
        Ok((self.lease, Some(id)))
    }

    async fn is_not_started_for_too_long(&self) -> Result<bool, Abandoned> {
        if !self.shared.is_too_late_to_start(self.snapshot.batch.created_at).await? {
            return Ok(false);
        }
        let outcomes = crate::layout::key::outcomes(&self.message.app, self.message.batch);
        let page = self.shared.deps.store.list(&List::all(outcomes)).await?;
        Ok(page.entries.is_empty())
    }
}

/// Tells `status` why nobody runs it: one small object per reason, as far as this worker remembers.
pub(super) async fn record_mismatch(shared: &Shared, message: &RangeMessage, why: String) {
    let reason = Digest::of(why.as_bytes());
    if !shared.batches.is_first_mention(message.batch, &reason) {
        return;
    }
    let key = Key::BatchUnsuited(message.app.clone(), message.batch, reason);
    let (worker, at) = (shared.config.name.clone(), shared.deps.now());
    let unsuited = Unsuited { why, worker, at, failed_starts: None };
    // For people: tried once.
    let _ = shared.deps.store.put(&key, PutObject::create(object::encode(&unsuited))).await;
}
