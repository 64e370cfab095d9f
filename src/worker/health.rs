//! A sick worker (Docker down, disk full) receives no messages. It probes its executor with backoff until it can run
//! functions again (H17, N3).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use crate::event::Event;
use crate::limits;

/// Where calls report that this machine could not run them.
#[derive(Debug, Default)]
pub struct Health {
    why: Mutex<Option<String>>,
    reported: Notify,
}

impl Health {
    pub fn report(&self, why: String) {
        *self.why.lock().expect("no holder of this lock panics") = Some(why);
        self.reported.notify_one();
    }

    /// What was reported last.
    pub async fn reported(&self) -> String {
        loop {
            if let Some(why) = self.why.lock().expect("no holder of this lock panics").take() {
                return why;
            }
            self.reported.notified().await;
        }
    }
}

/// How often the worker has fallen sick since it last finished a call: otherwise a worker whose probe succeeds
/// while its calls fail would go on receiving messages and failing them.
#[derive(Debug, Default)]
pub struct Streak(u32);

impl Streak {
    pub fn fell_sick(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    pub fn finished(&mut self) {
        self.0 = 0;
    }

    fn wait(&self, failed_probes: u32) -> Duration {
        let doublings = self.0.saturating_sub(1).saturating_add(failed_probes).min(16);
        (limits::PROBE_MIN * (1 << doublings)).min(limits::PROBE_MAX)
    }
}

/// Returns once this machine can run functions again.
pub async fn recover(shared: Arc<Shared>, streak: u32, mut why: String) {
    let streak = Streak(streak);
    let worker = shared.config.name.clone();
    let mut failed_probes = 0;
    loop {
        shared.emit(Event::WorkerSick { worker: worker.clone(), why: why.clone() });
        shared.deps.clock.sleep(streak.wait(failed_probes)).await;
        match shared.executor.probe().await {
            Ok(()) => break,
            Err(still) => why = still,
        }
        failed_probes += 1;
    }
    shared.emit(Event::WorkerHealthy { worker });
}

impl Streak {
    pub fn count(&self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_streak_and_probes_up_to_the_limit() {
        let wait_ms = |streak, failed| Streak(streak).wait(failed).as_millis() as u64;
        assert_eq!(wait_ms(1, 0), limits::ms(limits::PROBE_MIN));
        assert_eq!(wait_ms(1, 2), 4 * limits::ms(limits::PROBE_MIN));
        assert_eq!(wait_ms(3, 0), 4 * limits::ms(limits::PROBE_MIN));
        assert_eq!(wait_ms(40, 40), limits::ms(limits::PROBE_MAX));
    }
}
