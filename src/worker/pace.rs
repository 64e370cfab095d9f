//! The recent mean duration of calls on this worker. It tells whether a slot will be free soon.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The weight of a new call in the mean is one in so many.
const WEIGHT: u64 = 8;

/// A sliding mean of the time that calls take on a slot.
#[derive(Debug, Default)]
pub struct Pace {
    mean_us: AtomicU64,
}

impl Pace {
    /// A call has left its slot. Two at once may lose one of them: it is a mean.
    pub fn record(&self, took: Duration) {
        let took_us = took.as_micros().min(u128::from(u64::MAX / 16)) as u64;
        let before = self.mean_us.load(Relaxed);
        let mean = if before == 0 { took_us } else { before - before / WEIGHT + took_us / WEIGHT };
        self.mean_us.store(mean.max(1), Relaxed);
    }

    /// `None` while no call has ended.
    pub fn mean(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.mean_us.load(Relaxed))).filter(|mean| !mean.is_zero())
    }

    /// 0 while no call has ended.
    pub fn mean_ms(&self) -> u64 {
        self.mean_us.load(Relaxed) / 1_000
    }

    /// Whether one of so many slots is likely to become free within this time.
    pub fn frees_a_slot_within(&self, time: Duration, slots: usize) -> bool {
        let mean_us = self.mean_us.load(Relaxed);
        mean_us > 0 && u128::from(mean_us / slots.max(1) as u64) <= time.as_micros()
    }
}
