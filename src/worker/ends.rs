//! When a worker has run out of ranges to work on: the batches that they belong to may be over, and their supervisors look
//! at once instead of by their clock. Waiters wake in order, as with [`super::phase`].

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Ends {
    times: AtomicU64,
    again: Notify,
}

impl Ends {
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
        loop {
            let again = self.again.notified();
            tokio::pin!(again);
            // Listening before looking, or an end in between is missed.
            again.as_mut().enable();
            if self.times() != times {
                return;
            }
            again.await;
        }
    }
}
