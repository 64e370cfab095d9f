//! A batch that this process submits, works on and collects, all at once: `batch run`, and its `batch resume`.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ending;
use super::follow::Follow;
use super::live::Live;
use super::receipt::{Receipt, Receipts, RunReceipt};
use crate::cli::args::ProgressStyle;
use crate::cli::exit::ExitCode;
use crate::cli::session::{Engine, Session};
use crate::cli::signal::Stops;
use crate::cli::{executors, signal};
use crate::error::{Error, Result};
use crate::model::{AppName, BatchId, Version};
use crate::results::batch::BatchView;
use crate::submit::batch::{End, Progress, Submitted};
use crate::worker::{Stop, Worker};

pub struct Job<'a> {
    pub session: &'a Session,
    pub engine: &'a Engine,
    pub app: AppName,
    pub version: Version,
    pub live: Arc<Live>,
    pub style: ProgressStyle,
    pub run: RunReceipt,
    /// Its results are where they are to be.
    pub collected: bool,
    pub begun: Duration,
}

/// Which batch it is, once that is known.
pub type Known = watch::Sender<Option<BatchId>>;

impl Job<'_> {
    /// What a submission tells of itself: the first of it makes the batch one that can be resumed.
    pub fn on_progress<'b>(&'b self, known: &'b Known) -> impl Fn(Progress) + Send + Sync + 'b {
        move |progress| {
            if known.borrow().is_none() {
                self.begin(progress.batch, known);
            }
        }
    }

    pub fn begin(&self, batch: BatchId, known: &Known) {
        self.remember(batch, self.collected);
        self.session.printer.note(format!("Batch {batch}"));
        self.live.follow(batch);
        known.send_replace(Some(batch));
    }

    /// Milliseconds since this process began with it.
    pub fn took(&self) -> u64 {
        self.engine.seams.clock.monotonic().saturating_sub(self.begun).as_millis() as u64
    }

    fn remember(&self, batch: BatchId, collected: bool) {
        let receipt = Receipt {
            v: 1,
            batch,
            app: self.app.clone(),
            context: self.engine.context.name.as_str().to_owned(),
            run: Some(RunReceipt { collected, ..self.run.clone() }),
        };
        if let Err(error) = Receipts::of(self.session).and_then(|receipts| receipts.keep(&receipt)) {
            self.session.printer.warning(format!("{error}; a resume has to be told where the results go"));
        }
    }

    /// Submits, works, collects; returns how the batch ended.
    pub async fn run(
        &self,
        mut stops: Stops,
        known: &Known,
        submission: impl Future<Output = Result<Option<Submitted>>>,
    ) -> Result<ExitCode> {
        let printer = &self.session.printer;
        let slots = executors::slots(self.run.concurrency);
        let executor = executors::open_with(self.session, self.engine, slots, &self.version).await?;
        let config = executors::config(self.session, self.engine, slots)?;
        let (stop, wanted) = watch::channel(Stop::Run);
        let worker = Worker::new(self.engine.seams.clone(), executor.clone(), config);
        let mut working = pin!(worker.run(wanted));
        let mut submitting = pin!(submission);
        let mut following = pin!(self.follow(known));
        let mut submitted = None;
        let ended = loop {
            tokio::select! {
                biased;
                () = stops.next() => break Ended::Interrupted,
                done = &mut submitting, if submitted.is_none() => match done {
                    Ok(done) => submitted = Some(done),
                    Err(error) => break Ended::Failed(error),
                },
                done = &mut following => break done.map_or_else(Ended::Failed, |view| Ended::Over(Box::new(view))),
                worker = &mut working => {
                    let gone = || Error::internal("the worker stopped");
                    break Ended::Failed(worker.err().unwrap_or_else(gone));
                }
            }
        };
        printer.bar(None);
        let ended = match ended {
            Ended::Over(view) => {
                stop.send_replace(Stop::Now);
                working.await?;
                Ok(view)
            }
            Ended::Failed(error) => Err(error),
            Ended::Interrupted => {
                printer.note("stopping: what runs gets time to end; Ctrl-C again stops now");
                stop.send_replace(Stop::Drain);
                let ended = tokio::select! {
                    biased;
                    () = stops.next() => {
                        stop.send_replace(Stop::Now);
                        None
                    }
                    ended = &mut working => Some(ended),
                };
                match ended {
                    Some(ended) => ended?,
                    None => working.await?,
                };
                let interrupted = signal::interrupted();
                Err(match *known.borrow() {
                    Some(batch) => interrupted.hint(format!("`afn batch resume {batch}` goes on")),
                    None => interrupted,
                })
            }
        };
        executor.close().await;
        let view = ended?;
        let bad = match submitted.flatten().map(|submitted| submitted.end) {
            Some(End::BadRecord(bad)) => Some(bad),
            Some(End::Source | End::Cancelled) | None => None,
        };
        ending::tell(self, &view, bad.as_ref()).await
    }

    async fn follow(&self, known: &Known) -> Result<BatchView> {
        let mut known = known.subscribe();
        let batch = known.wait_for(Option::is_some).await.ok().and_then(|batch| *batch);
        let Some(batch) = batch else { return std::future::pending().await };
        let printer = &self.session.printer;
        let mut follow =
            Follow::begin(printer, &self.engine.seams, self.style, Some(&self.live), batch).await?;
        let view = follow.until(|view| view.status.is_final(), |_| {}).await?;
        if !self.collected {
            ending::collect(self, &view).await?;
            ending::report(self, &view).await?;
            self.remember(batch, true);
        }
        follow.quietly();
        follow.until(|view| view.fired.is_some(), |_| {}).await
    }
}

enum Ended {
    Over(Box<BatchView>),
    Failed(Error),
    Interrupted,
}
