//! What this worker wrote to the logs of batches that it also supervises: its supervisor need not read that again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::BatchId;
use crate::outcomes::Log;

/// By batch and chunk, the logs as they stood after the last append.
#[derive(Debug, Default)]
pub struct Written(Mutex<BTreeMap<BatchId, BTreeMap<u64, Log>>>);

/// As long as it lives, what is written of the batch is kept until it is taken.
pub struct Kept {
    written: Arc<Written>,
    batch: BatchId,
}

impl Written {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<BatchId, BTreeMap<u64, Log>>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub fn keep(self: &Arc<Written>, batch: BatchId) -> Kept {
        self.logs().entry(batch).or_default();
        Kept { written: self.clone(), batch }
    }

    pub fn note(&self, batch: BatchId, log: &Log) {
        if let Some(logs) = self.logs().get_mut(&batch) {
            let is_newer = |known: &Log| known.parts() < log.parts();
            if logs.get(&log.last()).is_none_or(is_newer) {
                logs.insert(log.last(), log.clone());
            }
        }
    }
}

impl Kept {
    /// What was written since the last time.
    pub fn take(&self) -> Vec<Log> {
        let mut all = self.written.logs();
        all.get_mut(&self.batch).map(std::mem::take).unwrap_or_default().into_values().collect()
    }
}

/// A second supervisor of the same batch reads what it could have had here.
impl Drop for Kept {
    fn drop(&mut self) {
        if let Ok(mut logs) = self.written.0.lock() {
            logs.remove(&self.batch);
        }
    }
}
