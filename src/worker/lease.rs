//! Leases are received messages. The worker keeps them by extending their visibility every third of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::Shared;
use crate::limits;
use crate::model::QueueName;
use crate::seam::Queue;
use crate::seam::queue::{QueueError, Receipt, Received};

/// The messages of one queue that this worker holds, by the queue's own name of each.
pub struct Leases {
    queue: Arc<dyn Queue>,
    held: Mutex<BTreeMap<String, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    receipt: Receipt,
    /// An extension is under way.
    is_extending: bool,
    /// When the receive that gave this receipt was begun, by the monotonic clock.
    received: Duration,
}

impl Leases {
    pub fn new(queue: Arc<dyn Queue>) -> Arc<Leases> {
        Arc::new(Leases { queue, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().expect("no holder of this lock panics")
    }

    /// Takes a received message in. `None` if it is held already: its lease lapsed and it came again, so the newer
    /// receipt is kept and the work that runs goes on (H5).
    pub fn take(self: &Arc<Leases>, message: &Received, received: Duration) -> Option<Lease> {
        let newer = Held { receipt: message.receipt.clone(), is_extending: false, received };
        if self.held().insert(message.id.clone(), newer).is_some() {
            return None;
        }
        Some(Lease { leases: self.clone(), id: message.id.clone(), delivery: message.delivery })
    }

    pub fn count(&self) -> usize {
        self.held().len()
    }

    /// Extends those of which no extension is under way.
    async fn extend_all(&self, visibility: Duration) {
        let mut due = Vec::new();
        for (id, held) in self.held().iter_mut().filter(|(_, held)| !held.is_extending) {
            held.is_extending = true;
            due.push((id.clone(), held.receipt.clone()));
        }
        join_all(due.into_iter().map(|(id, receipt)| async move {
            let _ = self.queue.extend(&receipt, visibility).await;
            if let Some(held) = self.held().get_mut(&id) {
                held.is_extending = false;
            }
        }))
        .await;
    }

    /// Deletes finished messages, ten in a request. One whose deletion fails comes back, is found decided, and is deleted
    /// then.
    pub async fn delete(&self, leases: Vec<Lease>) -> Result<(), QueueError> {
        let receipts: Vec<Receipt> = leases.iter().map(Lease::receipt).collect();
        for some in receipts.chunks(limits::QUEUE_BATCH_MAX) {
            self.queue.delete(some).await?;
        }
        Ok(())
    }
}

/// A message held; given up when dropped (which tells the queue nothing: it lapses).
pub struct Lease {
    leases: Arc<Leases>,
    id: String,
    /// Which delivery brought it.
    pub delivery: u32,
}

impl Lease {
    fn held(&self) -> Held {
        self.leases.held().get(&self.id).cloned().expect("a lease is in the map as long as it lives")
    }

    /// The newest receipt.
    fn receipt(&self) -> Receipt {
        self.held().receipt
    }

    fn age_ms(&self, shared: &Shared) -> u64 {
        shared.deps.clock.monotonic().saturating_sub(self.held().received).as_millis() as u64
    }

    /// Whether something new may still begin under this lease (H15).
    pub fn may_begin(&self, shared: &Shared) -> bool {
        shared.deps.clock.monotonic() < self.begins_until()
    }

    /// Until when, by the monotonic clock. A newer receipt only moves it on.
    pub fn begins_until(&self) -> Duration {
        self.held().received + limits::HAND_OVER
    }

    /// Whether something may still be committed under it: past this, message and work may be anybody's (H14).
    pub fn may_commit(&self, shared: &Shared) -> bool {
        self.age_ms(shared) < limits::ms(limits::LEASE_MAX)
    }

    /// The queue shows the message again after `wait`.
    pub async fn give_back(self, wait: Duration) -> Result<(), QueueError> {
        self.held_receipt().give_back(wait).await
    }

    /// For what is to be done once the lease was given up.
    pub fn held_receipt(&self) -> HeldReceipt {
        HeldReceipt { queue: self.leases.queue.clone(), receipt: self.receipt() }
    }

    /// Deletes the message while the work goes on.
    #[cfg(feature = "planted")]
    pub async fn delete_message(&self) -> Result<(), QueueError> {
        self.leases.queue.delete(&[self.receipt()]).await.map(drop)
    }

    /// Leases of one queue are deleted together.
    pub fn queue(&self) -> &Arc<Leases> {
        &self.leases
    }
}

/// What a message can be put back or deleted by, apart from its lease.
pub struct HeldReceipt {
    queue: Arc<dyn Queue>,
    receipt: Receipt,
}

impl HeldReceipt {
    /// The queue shows the message again after `wait`.
    pub async fn give_back(&self, wait: Duration) -> Result<(), QueueError> {
        self.queue.extend(&self.receipt, wait).await
    }

    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Ok(mut held) = self.leases.held.lock() {
            held.remove(&self.id);
        }
    }
}

/// Extends all leases that are held, for ever. An extension that takes long delays no other. What runs under a lease that cannot be
/// extended goes on: whether its outcome counts is decided by the write of the outcome.
pub async fn keep(shared: Arc<Shared>) {
    // Those of a keeper that panicked ended with it.
    for leases in shared.leases.all() {
        leases.held().values_mut().for_each(|held| held.is_extending = false);
    }
    join_all(QueueName::ALL.map(|queue| keep_queue(&shared, queue))).await;
}

async fn keep_queue(shared: &Shared, queue: QueueName) {
    let visibility = shared.config.visibility_of(queue);
    let mut rounds = JoinSet::new();
    loop {
        shared.deps.clock.sleep(visibility / 3).await;
        let leases = shared.leases[queue].clone();
        rounds.spawn(async move { leases.extend_all(visibility).await });
        while let Some(ended) = rounds.try_join_next() {
            if let Err(panic) = ended {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
    }
}
