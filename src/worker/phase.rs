//! How far a worker has come on its way out, as all its tasks see it. Waiters wake in the order in which they began to
//! wait (tokio's `watch` picks one of eight lists at random), so that a seed is one run.

use std::sync::Mutex;

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Work,
    /// Calls that run may finish; nothing begins.
    Drain,
    /// The grace is over.
    HandBack,
}

#[derive(Debug)]
pub struct Phases {
    now: Mutex<Phase>,
    changed: Notify,
}

impl Phases {
    pub fn new() -> Phases {
        Phases { now: Mutex::new(Phase::Work), changed: Notify::new() }
    }

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
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking, or a change in between is missed.
            changed.as_mut().enable();
            if self.now() >= phase {
                return;
            }
            changed.await;
        }
    }
}
