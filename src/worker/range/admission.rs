//! Whether calls of a message's batch may begin here now, and what becomes of the message if not.

use super::prepare::Preparation;
use crate::event::Event;
use crate::limits;
use crate::model::{BatchRef, Digest};
use crate::worker::Abandoned;
use crate::worker::done::{Done, PutAside};
use crate::worker::limiter::RangeClaim;

impl Preparation {
    /// This range's part in the limits of its batch. None: nothing of it may begin here now.
    pub(super) async fn claim_range(&self) -> Option<RangeClaim> {
        let of = BatchRef::new(&self.message.app, self.message.batch);
        let gate = self.shared.limiter.gate(of.batch);
        self.shared.limiter.update(&gate, &of, self.snapshot.requests().orders).await;
        gate.try_claim_range()
    }

    /// The batch is paused, or others have all of its limits. As a new message: one that was put back would look as if a worker
    /// had been lost with it.
    pub(super) async fn wait_for_share(mut self) -> Result<Done, Abandoned> {
        let (app, batch) = (self.message.app.clone(), self.message.batch);
        let shared = self.shared.clone();
        self.message.lost_before |= self.lease.delivery > 1;
        let gate = shared.limiter.gate(batch);
        if !gate.is_paused() {
            let (lease, name) = self.send_anew(limits::NO_SHARE_PUT_BACK).await?;
            return Ok(match name {
                None => Done::Finished(lease),
                Some(_) if gate.has_share() => Done::Replaced { lease, handed_back: false },
                Some(_) => Done::LeftToOthers(lease),
            });
        }
        let why = format!("batch {batch} is paused");
        if shared.batches.is_first_mention(batch, &Digest::of(why.as_bytes())) {
            shared.emit(Event::BatchPaused { app, batch });
        }
        // The longer it was paused, the less often it is looked at.
        let paused = self.snapshot.paused_for(shared.deps.now()) / 4;
        let wait = paused.clamp(limits::PAUSED_PUT_BACK, limits::PAUSED_PUT_BACK_MAX);
        Ok(match self.send_anew(wait).await? {
            (lease, Some(name)) => {
                Done::Paused(PutAside { lease: Some(lease), new_name: name.clone(), name, why })
            }
            (lease, None) => Done::Finished(lease),
        })
    }
}
