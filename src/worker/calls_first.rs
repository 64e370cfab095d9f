//! When a long call leaves a slot, the worker asks the queue of single calls once, without waiting, before the slot's next
//! call of a batch. While all slots run long calls no receive is open, so single calls would otherwise wait for the whole
//! batch.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

#[derive(Debug, Default)]
pub struct CallsFirst {
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    asked: Notify,
}

impl CallsFirst {
    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().expect("no holder of this lock panics")
    }

    /// Returns when the queue was asked. What it gave waits in line for a slot then.
    pub async fn ask(&self) {
        let (answer, answered) = oneshot::channel();
        self.waiting().push(answer);
        self.asked.notify_one();
        let _ = answered.await;
    }

    /// Returns when somebody wants the queue asked.
    pub async fn asked(&self) {
        while self.waiting().is_empty() {
            self.asked.notified().await;
        }
    }

    /// The queue was asked, or is not to be.
    pub fn answer(&self) {
        for answer in self.waiting().drain(..) {
            let _ = answer.send(());
        }
    }
}
