//! A batch that this process submits, works on and collects, all at once: `batch run`, and `batch resume` of such a run.

pub mod ending;
pub mod follow;
pub mod outputs;
pub mod progress;
pub mod receipt;
pub mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::follow::LocalEvents;
use self::receipt::{Receipts, RunReceipt, SourceReceipt};
use super::options::ProgressStyle;
use super::session::Session;
use crate::embedded::Engine;
use crate::limits;
use crate::model::{AppName, BatchId, Version};
use crate::submit::batch::Progress;

pub struct Job<'a> {
    pub session: &'a Session,
    pub engine: &'a Engine,
    pub app: AppName,
    pub version: Version,
    pub events: Arc<LocalEvents>,
    pub style: ProgressStyle,
    pub run: RunReceipt,
    /// How a resume opens the source again.
    pub source: Option<SourceReceipt>,
    pub begun: Duration,
    /// The batch's id, once it is known.
    pub batch: watch::Sender<Option<BatchId>>,
}

impl Job<'_> {
    /// From the first progress of its submission on, a batch can be resumed.
    pub fn on_progress(&self, progress: Progress) {
        if self.batch.borrow().is_none() {
            self.begin(progress.batch);
        }
    }

    pub fn begin(&self, batch: BatchId) {
        self.remember(batch, self.run.collected);
        self.session.printer.note(format!("Batch {batch}"));
        self.events.follow(batch);
        self.engine.deps.queues.chunks.live.prefer(&batch.to_string());
        self.batch.send_replace(Some(batch));
    }

    /// Milliseconds since this process began with the batch.
    pub fn elapsed_ms(&self) -> u64 {
        limits::ms(self.engine.deps.clock.monotonic().saturating_sub(self.begun))
    }

    pub fn remember(&self, batch: BatchId, collected: bool) {
        let run = RunReceipt { collected, ..self.run.clone() };
        Receipts::remember(self.session, self.engine, &self.app, batch, self.source.clone(), Some(run));
    }
}
