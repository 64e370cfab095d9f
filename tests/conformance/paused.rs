//! A clock that is tokio's: paused, it leaps to whatever is awaited next.

use std::sync::Arc;
use std::time::Duration;

use afn::model::Time;
use afn::seam::Clock;
use async_trait::async_trait;
use tokio::time::Instant;

pub struct PausedClock {
    started: Instant,
}

impl PausedClock {
    /// To be made inside a runtime that is paused.
    pub fn start() -> Arc<dyn Clock> {
        Arc::new(PausedClock { started: Instant::now() })
    }
}

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Time {
        Time(1_507_069_861_258).plus_ms(self.monotonic().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
