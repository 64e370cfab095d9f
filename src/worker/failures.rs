//! Counts failures of batches that stop at a number of them (`--max-failures`), as far as this worker has seen them. At that
//! number the worker starts no more calls of the batch, without waiting for the supervisor, which adds up what all workers
//! have recorded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::layout::batch::{Batch, MaxFailures};
use crate::model::BatchId;

/// Past this many batches all counts are forgotten.
const BATCHES_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<BatchId, Arc<FailureBrake>>>);

/// Of one batch; shared by its ranges on this worker.
#[derive(Debug)]
pub struct FailureBrake {
    failed: AtomicU64,
    pub max: u64,
}

impl Failures {
    /// `None` if the batch does not stop at a number of failures. One that stops at a share of them is its supervisor's.
    pub fn brake(&self, id: BatchId, batch: &Batch) -> Option<Arc<FailureBrake>> {
        let Some(MaxFailures::Count(max)) = batch.max_failures else { return None };
        let mut brakes = self.0.lock().expect("no holder of this lock panics");
        if brakes.len() >= BATCHES_MAX && !brakes.contains_key(&id) {
            brakes.clear();
        }
        let brake = brakes.entry(id).or_insert_with(|| Arc::new(FailureBrake { failed: 0.into(), max }));
        Some(brake.clone())
    }
}

impl FailureBrake {
    pub fn record(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub fn is_reached(&self) -> bool {
        self.failed.load(Relaxed) >= self.max
    }
}
