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
use crate::deploy::command::is_command;
use crate::embedded::{BatchConfig, Engine, OwnBatch};
use crate::error::{Error, Result, if_found};
use crate::limits;
use crate::model::{AppName, BatchId, FunctionName, Version};
use crate::submit::batch::Progress;

pub struct Job<'a> {
    pub session: &'a Session,
    pub engine: &'a Engine,
    pub own: Arc<OwnBatch>,
    pub events: Arc<LocalEvents>,
    pub style: ProgressStyle,
    pub run: RunReceipt,
    /// How a resume opens the source again.
    pub source: Option<SourceReceipt>,
    pub begun: Duration,
    /// The batch's id, once it is known.
    pub batch: watch::Sender<Option<BatchId>>,
}

/// A batch with the config that its function has now.
pub async fn own_batch(
    engine: &Engine,
    app: &AppName,
    function: &FunctionName,
    version: Version,
    run: &RunReceipt,
) -> Result<Arc<OwnBatch>> {
    let is_remote = engine.context.kind.is_remote();
    if is_remote && is_command(&version) && run.version.as_ref() != Some(&version.id) {
        return Err(Error::conflict(format!(
            "function `{function}` of app `{app}` is not the command that was run here, so it does not get all rights of its user"
        ))
        .with_hint("`afn batch run` with the command runs it; a worker with `--executor process` works on what is there"));
    }
    let config = match &run.config {
        _ if !is_remote => BatchConfig::default(),
        // A command has all rights of its user: it gets no config that other users gave its app and function.
        Some(config) => BatchConfig { function: config.clone(), ..BatchConfig::default() },
        None => {
            let (app_found, found) =
                (engine.catalog.app(app).await, engine.catalog.function(app, function).await);
            BatchConfig {
                app: if_found(app_found)?.map(|app| app.config).unwrap_or_default().into(),
                function: if_found(found)?.map(|function| function.config).unwrap_or_default(),
            }
        }
    };
    Ok(Arc::new(OwnBatch::new(app.clone(), function.clone(), version, config)))
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
        self.own.begin(batch);
        let run = RunReceipt { collected, ..self.run.clone() };
        Receipts::remember(self.session, self.engine, &self.own.app, batch, self.source.clone(), Some(run));
    }
}
