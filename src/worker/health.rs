//! A sick worker (Docker down, disk full) receives nothing and probes itself, with backoff and without taking a message,
//! until it can work again (H17, N3).

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::event::Event;
use crate::limits;

/// How often the worker has fallen sick since it last finished a call: a probe that succeeds while calls go on failing
/// must not turn the worker into a hole that messages fall through.
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
        Duration::from_millis((limits::PROBE_MS_MIN << doublings).min(limits::PROBE_MS_MAX))
    }
}

/// Returns once this machine can run functions again.
pub async fn recover(shared: Arc<Shared>, streak: u32, mut why: String) {
    let streak = Streak(streak);
    let worker = shared.config.name.clone();
    let mut failed_probes = 0;
    loop {
        shared.say(Event::WorkerSick { worker: worker.clone(), why: why.clone() });
        shared.seams.clock.sleep(streak.wait(failed_probes)).await;
        match shared.executor.probe().await {
            Ok(()) => break,
            Err(still) => why = still,
        }
        failed_probes += 1;
    }
    shared.say(Event::WorkerHealthy { worker });
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
        assert_eq!(wait_ms(1, 0), limits::PROBE_MS_MIN);
        assert_eq!(wait_ms(1, 2), 4 * limits::PROBE_MS_MIN);
        assert_eq!(wait_ms(3, 0), 4 * limits::PROBE_MS_MIN);
        assert_eq!(wait_ms(40, 40), limits::PROBE_MS_MAX);
    }
}
