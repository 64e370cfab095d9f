//! The names of the three queues.

use std::ops::{Index, IndexMut};

use serde::Serialize;

use super::text::words;

/// A queue of a context. Serialized by its name, for people and for JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueName {
    /// Single calls.
    Calls,
    /// Ranges of batches.
    Chunks,
    /// Supervisors of batches.
    Batches,
}

words!(QueueName, "queue": Calls = "calls", Chunks = "chunks", Batches = "batches");

/// One value for each queue.
#[derive(Debug, Default)]
pub struct PerQueue<T>([T; 3]);

impl<T> PerQueue<T> {
    pub fn new(value: impl FnMut(QueueName) -> T) -> PerQueue<T> {
        PerQueue(QueueName::ALL.map(value))
    }

    pub fn all(&self) -> &[T; 3] {
        &self.0
    }

    pub fn all_mut(&mut self) -> &mut [T; 3] {
        &mut self.0
    }
}

impl<T> Index<QueueName> for PerQueue<T> {
    type Output = T;

    fn index(&self, name: QueueName) -> &T {
        &self.0[name as usize]
    }
}

impl<T> IndexMut<QueueName> for PerQueue<T> {
    fn index_mut(&mut self, name: QueueName) -> &mut T {
        &mut self.0[name as usize]
    }
}
