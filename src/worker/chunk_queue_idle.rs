//! Notifies supervisors when this worker has run out of ranges. Their batches may be over, so they look at once instead of
//! at their next interval. Tasks wake in the order in which they began to wait, as in [`super::phase`].

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::phase::until;

#[derive(Debug, Default)]
pub struct ChunkQueueIdle {
    times: AtomicU64,
    again: Notify,
}

impl ChunkQueueIdle {
    pub fn ran_out(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.again.notify_waiters();
    }

    /// How often so far.
    pub fn times(&self) -> u64 {
        self.times.load(Ordering::Relaxed)
    }

    /// Returns when it has happened since.
    pub async fn since(&self, times: u64) {
        until(&self.again, || self.times() != times).await;
    }
}
