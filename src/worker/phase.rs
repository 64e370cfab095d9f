//! The phase of a worker's life. The owner of the worker asks for a phase through a channel, and [`Phases`] tells all tasks
//! which phase the worker has reached. Tasks wake in the order in which they began to wait, so that a seed of the simulator
//! gives the same run every time (tokio's `watch` picks one of eight lists at random).

use std::sync::Mutex;

use tokio::sync::Notify;

/// A worker goes through these in order and never back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Receive messages and run calls.
    #[default]
    Run,
    /// Receive nothing more and begin no call. Running calls may finish within the grace period.
    Drain,
    /// Stop running calls and put their messages back on the queue.
    HandBack,
}

#[derive(Debug, Default)]
pub struct Phases {
    now: Mutex<Phase>,
    changed: Notify,
}

impl Phases {
    pub fn now(&self) -> Phase {
        *self.now.lock().expect("no holder panics")
    }

    /// Never goes back.
    pub fn advance(&self, to: Phase) {
        let mut now = self.now.lock().expect("no holder panics");
        *now = (*now).max(to);
        drop(now);
        self.changed.notify_waiters();
    }

    /// Returns when the worker has come to `phase`.
    pub async fn reached(&self, phase: Phase) {
        until(&self.changed, || self.now() >= phase).await;
    }
}

/// Returns when it is so. Whoever changes that notifies all who wait.
pub(super) async fn until(changes: &Notify, is_so: impl Fn() -> bool) {
    loop {
        let changed = changes.notified();
        tokio::pin!(changed);
        // Listening before looking, or a change in between is missed.
        changed.as_mut().enable();
        if is_so() {
            return;
        }
        changed.await;
    }
}
