//! The logs that this worker wrote last. The supervisor of their batch need not read them again, where it works here; and a
//! piece of a chunk finds its log known.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::BatchId;
use crate::outcomes::Log;

/// How many logs are remembered for pieces.
const RECENT_MAX: usize = 16;

/// The logs as they stood after the last append.
#[derive(Debug, Default)]
pub struct WrittenLogs {
    /// Of supervised batches, by batch and chunk.
    supervised: Mutex<BTreeMap<BatchId, BTreeMap<u64, Log>>>,
    recent: Mutex<VecDeque<(BatchId, Log)>>,
}

/// As long as it lives, what is written of the batch is kept until it is taken.
pub struct OwnLogs {
    written: Arc<WrittenLogs>,
    batch: BatchId,
}

impl WrittenLogs {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<BatchId, BTreeMap<u64, Log>>> {
        self.supervised.lock().expect("no holder of this lock panics")
    }

    /// A chunk's log, as it was when this worker wrote to it; `None` if that is long ago.
    pub fn recent(&self, batch: BatchId, chunk: u64) -> Option<Log> {
        let recent = self.recent.lock().expect("no holder of this lock panics");
        recent.iter().find(|(of, log)| *of == batch && log.last() == chunk).map(|(_, log)| log.clone())
    }

    pub fn collect(self: &Arc<WrittenLogs>, batch: BatchId) -> OwnLogs {
        self.logs().entry(batch).or_default();
        OwnLogs { written: self.clone(), batch }
    }

    pub fn record(&self, batch: BatchId, log: &Log) {
        let mut recent = self.recent.lock().expect("no holder of this lock panics");
        recent.retain(|(of, known)| *of != batch || known.last() != log.last());
        recent.truncate(RECENT_MAX - 1);
        recent.push_front((batch, log.clone()));
        drop(recent);
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
        if let Ok(mut logs) = self.written.supervised.lock() {
            logs.remove(&self.batch);
        }
    }
}
