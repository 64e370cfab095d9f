//! Leases: received messages, kept by extending their visibility every third of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;

use super::Shared;
use crate::limits;
use crate::seam::queue::{Receipt, Received};

/// The messages that this worker holds, by the queue's own name of each.
#[derive(Debug, Default)]
pub struct Leases {
    held: Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    receipt: Receipt,
    /// When the receive that gave this receipt was begun, by the monotonic clock.
    received: Duration,
}

impl Leases {
    /// Takes a received message in. `None` if it is held already: its lease lapsed and it came again, so the newer
    /// receipt is kept and the work that runs goes on (H5).
    pub fn take(self: &Arc<Leases>, message: &Received, received: Duration) -> Option<Lease> {
        let mut held = self.held.lock().expect("no holder of the lock panics");
        let newer = Held { receipt: message.receipt.clone(), received };
        if held.insert(message.id.clone(), newer).is_some() {
            return None;
        }
        Some(Lease { leases: self.clone(), id: message.id.clone(), delivery: message.delivery })
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.held
            .lock()
            .expect("no holder of the lock panics")
            .values()
            .map(|held| held.receipt.clone())
            .collect()
    }
}

/// A message held; given up when dropped (which tells the queue nothing: it lapses).
#[derive(Debug)]
pub struct Lease {
    leases: Arc<Leases>,
    id: String,
    /// Which delivery brought it.
    pub delivery: u32,
}

impl Lease {
    fn held(&self) -> Held {
        let held = self.leases.held.lock().expect("no holder of the lock panics");
        held.get(&self.id).cloned().expect("a lease is in the map as long as it lives")
    }

    /// The newest receipt.
    pub fn receipt(&self) -> Receipt {
        self.held().receipt
    }

    fn age_ms(&self, shared: &Shared) -> u64 {
        shared.seams.clock.monotonic().saturating_sub(self.held().received).as_millis() as u64
    }

    /// Whether something new may still begin under this lease (H15).
    pub fn may_begin(&self, shared: &Shared) -> bool {
        self.age_ms(shared) < limits::HAND_OVER_MS
    }

    /// Whether something may still be committed under it: past this, message and call may be anybody's (H14).
    pub fn may_commit(&self, shared: &Shared) -> bool {
        self.age_ms(shared) < limits::LEASE_MS_MAX
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Ok(mut held) = self.leases.held.lock() {
            held.remove(&self.id);
        }
    }
}

/// Extends all that is held, for ever. A lease that cannot be extended is no reason to stop what runs under it: the
/// outcome is decided by its own write.
pub async fn keep(shared: Arc<Shared>) {
    let visibility = shared.config.visibility;
    loop {
        shared.seams.clock.sleep(visibility / 3).await;
        let receipts = shared.leases.receipts();
        let queue = &shared.seams.queues.calls.live;
        join_all(receipts.iter().map(|receipt| queue.extend(receipt, visibility))).await;
    }
}
