//! Whether calls of a message's batch may begin here now, and what becomes of the message if not.

use std::time::Duration;

use super::prepare::Preparation;
use crate::event::Event;
use crate::limits;
use crate::model::{BatchRef, Digest, MessageId};
use crate::worker::Abandoned;
use crate::worker::done::{Done, PutAside};
use crate::worker::lease::Lease;
use crate::worker::limiter::RangeClaim;

impl Preparation {
    /// This range's part in the limits of its batch. None: nothing of it may begin here now.
    pub(super) async fn claim_range(&self) -> Option<RangeClaim> {
        let of = BatchRef::new(&self.message.app, self.message.batch);
        let gate = self.shared.limiter.gate(of.batch);
        self.shared.limiter.update(&gate, &of, self.snapshot.requests().orders).await;
        gate.try_claim_range()
    }

    /// Whether nothing of the message is to be run any more.
    async fn is_done(&self) -> Result<bool, Abandoned> {
        let log = self.open_log().await?;
        Ok(!self.message.calls.each().any(|(number, history)| self.may_run(&log, number, history)))
    }

    /// The batch is paused, or others have all of its limits.
    pub(super) async fn wait_for_share(mut self) -> Result<Done, Abandoned> {
        self.message.lost_before |= self.lease.delivery > 1;
        // Such a message may be on the queue twice.
        if self.message.lost_before && self.is_done().await? {
            return Ok(Done::Finished(self.lease));
        }
        let shared = self.shared.clone();
        let gate = shared.limiter.gate(self.message.batch);
        if !gate.is_paused() {
            return Ok(match self.send_back(limits::NO_SHARE_PUT_BACK).await? {
                SentBack::Nothing(lease) => Done::Finished(lease),
                SentBack::Sent { lease: Some(lease), .. } if gate.has_share() => {
                    Done::Replaced { lease, handed_back: false }
                }
                SentBack::Sent { lease: None, .. } if gate.has_share() => Done::Left,
                SentBack::Sent { lease, .. } => Done::LeftToOthers(lease),
            });
        }
        let (app, batch) = (self.message.app.clone(), self.message.batch);
        let why = format!("batch {batch} is paused");
        if shared.batches.is_first_mention(batch, &Digest::of(why.as_bytes())) {
            shared.emit(Event::BatchPaused { app, batch });
        }
        // The longer it was paused, the less often it is looked at.
        let paused = self.snapshot.paused_for(shared.deps.now()) / 4;
        let wait = paused.clamp(limits::PAUSED_PUT_BACK, limits::PAUSED_PUT_BACK_MAX);
        let id = self.message.id;
        Ok(match self.send_back(wait).await? {
            SentBack::Sent { lease, new_id } => {
                Done::SetAside(PutAside { lease, id, new_id, batch: Some(batch), wait, why })
            }
            SentBack::Nothing(lease) => Done::Finished(lease),
        })
    }

    /// A message that no worker was lost with goes back as a new one, because one that was put back looks as if one had been.
    /// Any other is put back: each worker that is lost between sending a new message and deleting the old one leaves
    /// both, and there would be more and more of them.
    pub(super) async fn send_back(self, wait: Duration) -> Result<SentBack, Abandoned> {
        if self.message.lost_before && self.lease.delivery <= limits::PUT_BACK_COUNT_MAX {
            let new_id = self.message.id;
            self.lease.give_back(wait).await?;
            return Ok(SentBack::Sent { lease: None, new_id });
        }
        Ok(match self.send_anew(wait).await? {
            (lease, Some(new_id)) => SentBack::Sent { lease: Some(lease), new_id },
            (lease, None) => SentBack::Nothing(lease),
        })
    }
}

pub(super) enum SentBack {
    /// The old message is to be deleted, if there is a new one. The id of the message on the queue.
    Sent { lease: Option<Lease>, new_id: MessageId },
    /// All its calls have left it.
    Nothing(Lease),
}
