//! Time as it is told to the engine.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::Time;

#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock. It may step, and differs between machines: it mints ids and is shown to people; nothing is
    /// decided by comparing two machines' readings.
    fn now(&self) -> Time;

    /// Never goes back, and counts the time a machine was suspended (`CLOCK_BOOTTIME`): leases are measured by it.
    fn monotonic(&self) -> Duration;

    async fn sleep(&self, duration: Duration);
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
        Time::from(std::time::SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The runtime's clock, which tests pause: then it leaps to whatever is awaited next. The wall clock begins at an arbitrary
/// moment of the past.
#[cfg(any(test, feature = "testing"))]
pub struct PausedClock(tokio::time::Instant);

#[cfg(any(test, feature = "testing"))]
impl PausedClock {
    /// To be called inside the runtime that is paused.
    pub fn start() -> std::sync::Arc<dyn Clock> {
        std::sync::Arc::new(PausedClock(tokio::time::Instant::now()))
    }
}

#[cfg(any(test, feature = "testing"))]
#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Time {
        Time(1_507_069_861_258).plus_ms(self.monotonic().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
