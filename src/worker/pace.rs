//! The recent mean duration of calls on this worker, which tells whether a slot will be free soon; and that of each batch, which
//! tells how many calls make a range.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::limits;
use crate::model::BatchId;

/// The weight of a new call in the mean is one in so many.
const WEIGHT: u64 = 8;

/// Past this many the means of batches are forgotten.
const BATCHES_MAX: usize = 1_000;

/// How many calls make a range on a worker of so many slots.
pub fn calls_per_range(slots: usize, mean: Duration) -> usize {
    let in_time = (limits::RANGE * slots as u32).as_millis() / mean.as_millis().max(1);
    (in_time as usize).max(limits::RANGE_CALLS_PER_SLOT_MIN * slots)
}

/// A sliding mean of the time that calls take on a slot.
#[derive(Debug, Default)]
pub struct Pace {
    mean_us: AtomicU64,
    /// When a call left its slot last.
    ended_us: AtomicU64,
    /// Executions of each batch, and the time on a slot that they took.
    batches: Mutex<BTreeMap<BatchId, (u64, Duration)>>,
}

impl Pace {
    /// A call has left its slot, now, after so long. Two at once may lose one of them: it is a mean.
    pub fn record(&self, now: Duration, took: Duration) {
        self.ended_us.store(now.as_micros().min(u128::from(u64::MAX)) as u64, Relaxed);
        let took_us = took.as_micros().min(u128::from(u64::MAX / 16)) as u64;
        let before = self.mean_us.load(Relaxed);
        let mean = if before == 0 { took_us } else { before - before / WEIGHT + took_us / WEIGHT };
        self.mean_us.store(mean.max(1), Relaxed);
    }

    /// So many calls of a batch have left their slots, after so much time in all.
    pub fn record_batch(&self, batch: BatchId, executions: u64, busy: Duration) {
        if executions == 0 {
            return;
        }
        let mut batches = self.batches.lock().expect("no holder of this lock panics");
        if batches.len() >= BATCHES_MAX && !batches.contains_key(&batch) {
            batches.clear();
        }
        let known = batches.entry(batch).or_default();
        *known = (known.0 + executions, known.1 + busy);
    }

    /// `None` while no call of the batch has ended here. A machine that slept, or a store that was away, may have made calls look
    /// longer than they can be.
    pub fn mean_of_batch(&self, batch: BatchId) -> Option<Duration> {
        let batches = self.batches.lock().expect("no holder of this lock panics");
        let (executions, busy) = batches.get(&batch)?;
        Some((*busy / (*executions).min(u64::from(u32::MAX)) as u32).min(limits::LEASE_MAX))
    }

    /// How long calls take at present, which is no less than the time since one ended: all that run now may be long. `None` while
    /// no call has ended.
    pub fn mean(&self, now: Duration) -> Option<Duration> {
        let mean = Duration::from_micros(self.mean_us.load(Relaxed));
        let silent = now.saturating_sub(Duration::from_micros(self.ended_us.load(Relaxed)));
        (!mean.is_zero()).then(|| mean.max(silent))
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
