//! The logs that this worker wrote for batches that it also supervises. The supervisor need not read them again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::BatchId;
use crate::outcomes::Log;

/// By batch and chunk, the logs as they stood after the last append.
#[derive(Debug, Default)]
pub struct WrittenLogs(Mutex<BTreeMap<BatchId, BTreeMap<u64, Log>>>);

/// As long as it lives, what is written of the batch is kept until it is taken.
pub struct OwnLogs {
    written: Arc<WrittenLogs>,
    batch: BatchId,
}

impl WrittenLogs {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<BatchId, BTreeMap<u64, Log>>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub fn collect(self: &Arc<WrittenLogs>, batch: BatchId) -> OwnLogs {
        self.logs().entry(batch).or_default();
        OwnLogs { written: self.clone(), batch }
    }

    pub fn record(&self, batch: BatchId, log: &Log) {
        if let Some(logs) = self.logs().get_mut(&batch) {
            let is_newer = |known: &Log| known.parts() < log.parts();
            if logs.get(&log.last()).is_none_or(is_newer) {
                logs.insert(log.last(), log.clone());
            }
        }
    }
}

impl OwnLogs {
    /// What was written since the last time.
    pub fn take_new(&self) -> Vec<Log> {
        let mut all = self.written.logs();
        all.get_mut(&self.batch).map(std::mem::take).unwrap_or_default().into_values().collect()
    }
}

/// A second supervisor of the same batch reads what it could have had here.
impl Drop for OwnLogs {
    fn drop(&mut self) {
        if let Ok(mut logs) = self.written.0.lock() {
            logs.remove(&self.batch);
        }
    }
}
