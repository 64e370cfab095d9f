//! The messages that this worker has put back because it cannot work on them. A worker that drains counts them: they are no
//! reason to go on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::BatchId;

/// Of one queue.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    /// By the id of each: the message's own, or the queue's for one that cannot be read.
    messages: BTreeMap<String, Hidden>,
}

#[derive(Debug)]
struct Hidden {
    batch: Option<BatchId>,
    /// If this worker has not met it again by then, another one may have taken it.
    until: Duration,
    why: String,
}

impl SetAside {
    /// How many lie on the queue, and why one of them.
    pub fn count(&mut self, now: Duration) -> (u64, Option<&str>) {
        self.messages.retain(|_, hidden| hidden.until > now);
        let why = self.messages.values().next().map(|hidden| hidden.why.as_str());
        (self.messages.len() as u64, why)
    }

    /// Whether one of them is of the batch.
    pub fn has(&self, batch: BatchId) -> bool {
        self.messages.values().any(|hidden| hidden.batch == Some(batch))
    }

    /// A message was received: it lies on the queue no more.
    pub fn remove(&mut self, id: &str) {
        self.messages.remove(id);
    }

    pub fn put(&mut self, id: String, batch: Option<BatchId>, until: Duration, why: String) {
        self.messages.insert(id, Hidden { batch, until, why });
    }
}
