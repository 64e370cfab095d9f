//! What the worker in this process says of one batch, sooner than the store does: its rows are written with others, some
//! seconds later.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use tokio::sync::Notify;

use crate::cli::lines::line;
use crate::cli::printer::Printer;
use crate::event::{Event, Listener};
use crate::model::{BatchId, State};

pub struct Live {
    printer: Printer,
    batch: OnceLock<BatchId>,
    ended: Mutex<BTreeMap<State, u64>>,
    over: Notify,
}

impl Live {
    pub fn new(printer: &Printer) -> Live {
        Live {
            printer: printer.clone(),
            batch: OnceLock::new(),
            ended: Mutex::default(),
            over: Notify::new(),
        }
    }

    /// Which batch it is about.
    pub fn follow(&self, batch: BatchId) {
        let _ = self.batch.set(batch);
    }

    /// Calls that ended here, by how they did.
    pub fn ended(&self) -> BTreeMap<State, u64> {
        self.ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Returns when the batch was found to be over here.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

impl Listener for Live {
    fn on(&self, event: Event) {
        match &event {
            Event::BatchCallEnded { batch, status } if self.batch.get() == Some(batch) => {
                let mut ended = self.ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *ended.entry(*status).or_default() += 1;
            }
            Event::BatchFinished { batch, .. } if self.batch.get() == Some(batch) => self.over.notify_one(),
            Event::WorkerSick { .. }
            | Event::WorkerHealthy { .. }
            | Event::CallMismatched { .. }
            | Event::DeadLettered { .. }
            | Event::NewerMessage { .. }
            | Event::RequestRepeated { .. }
            | Event::RequestFailed { .. } => {
                if let Some(line) = line(&event, self.printer.palette()) {
                    self.printer.note(line);
                }
            }
            _ if self.printer.is_verbose() => {
                if let Some(line) = line(&event, self.printer.palette()) {
                    self.printer.detail(line);
                }
            }
            _ => {}
        }
    }
}
