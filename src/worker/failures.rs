//! Counts failures of batches that stop at a number of them (`--max-failures`), as far as this worker has seen them. At that
//! number the worker starts no more calls of the batch, without waiting for the supervisor, which adds up what all workers
//! have recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
    /// The calls, at most `max` of them: one whose outcome was recorded by somebody else may fail here again.
    failed: Mutex<BTreeSet<u64>>,
    is_reached: AtomicBool,
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
        let brake = brakes.entry(id).or_insert_with(|| {
            Arc::new(FailureBrake { failed: Mutex::default(), is_reached: false.into(), max })
        });
        Some(brake.clone())
    }
}

impl FailureBrake {
    /// A call has failed for good.
    pub fn record(&self, number: u64) {
        let mut failed = self.failed.lock().expect("no holder of this lock panics");
        if (failed.len() as u64) < self.max {
            failed.insert(number);
        }
        self.is_reached.store(failed.len() as u64 >= self.max, Relaxed);
    }

    pub fn is_reached(&self) -> bool {
        self.is_reached.load(Relaxed)
    }
}
