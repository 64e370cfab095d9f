//! After a message that does not suit this worker, the worker waits before its next receive from that queue, longer after
//! each further one. So workers that suit receive these messages first.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::limits;
use crate::seam::{Rng, RngExt as _};

/// Of one queue.
#[derive(Debug, Default)]
pub struct MismatchBackoff {
    /// Messages in a row that this worker could not run.
    mismatches: AtomicU32,
}

impl MismatchBackoff {
    pub fn reset(&self) {
        self.mismatches.store(0, Relaxed);
    }

    pub fn record(&self) {
        self.mismatches.fetch_add(1, Relaxed);
    }

    pub fn is_paused(&self) -> bool {
        self.mismatches.load(Relaxed) > 0
    }

    /// The wait before the next receive: 0, 1, 2, 4 … 30 s times 0.5 to 1.5. The second receive follows at once, while the message that
    /// was put back is hidden: a queue that keeps the order of its messages would give it out again, and the worker would not meet the
    /// message behind it.
    pub fn pause(&self, rng: &dyn Rng) -> Duration {
        let Some(doublings) = self.mismatches.load(Relaxed).checked_sub(2) else { return Duration::ZERO };
        let doubled = limits::ms(limits::MISMATCH_PAUSE_MIN) << doublings.min(16);
        let pause_ms = doubled.min(limits::ms(limits::MISMATCH_PAUSE_MAX));
        Duration::from_millis(pause_ms / 2 + rng.below(pause_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::rng::SeededRng;

    #[test]
    fn pauses_grow_and_one_that_suits_ends_them() {
        let (mismatch_backoff, rng) = (MismatchBackoff::default(), SeededRng::new(1));
        assert_eq!(mismatch_backoff.pause(&rng), Duration::ZERO);
        mismatch_backoff.record();
        assert_eq!(mismatch_backoff.pause(&rng), Duration::ZERO);
        for most in [1_500, 3_000, 6_000, 12_000, 24_000, 45_000, 45_000] {
            mismatch_backoff.record();
            let pause = mismatch_backoff.pause(&rng).as_millis() as u64;
            assert!(pause >= most / 3 && pause <= most, "{pause} of {most}");
        }
        mismatch_backoff.reset();
        assert_eq!(mismatch_backoff.pause(&rng), Duration::ZERO);
    }
}
