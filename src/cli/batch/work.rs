//! Runs a job: submits, works and collects at once, until the batch is over or somebody interrupts.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::Job;
use super::ending;
use super::follow::Follow;
use super::receipt::Receipts;
use crate::cli::exit::ExitCode;
use crate::cli::signal::{self, StopSignals};
use crate::embedded::{LocalWorker, Scope};
use crate::error::{Code, Error, Result};
use crate::layout::key;
use crate::limits;
use crate::results::batch::BatchView;
use crate::results::open::others;
use crate::seam::store::List;
use crate::submit::batch::{End, Submitted};

/// How long workers elsewhere get to record something of a batch that the worker of this process cannot run.
const OTHERS_GET: Duration = Duration::from_secs(10);

/// Other batches that are named at the start.
const OTHERS_TOLD: usize = 3;

impl Job<'_> {
    /// Returns how the batch ended.
    pub async fn run(
        &self,
        mut stops: StopSignals,
        submission: impl Future<Output = Result<Option<Submitted>>>,
    ) -> Result<ExitCode> {
        let printer = &self.session.printer;
        let scope = Scope::Own(&self.own);
        let mut worker = LocalWorker::start(self.engine, scope, self.run.concurrency, |config| {
            // Whoever names a source here has asked for it to be read from here. The scope keeps other users' batches from it.
            if let Some(source) = &self.source {
                config.data_buckets.extend(source.bucket());
                config.buckets = Some(self.engine.buckets(source.profile.clone()));
            }
        })
        .await?;
        self.session.print_risks(&worker.executors);
        let is_behind = self.is_behind_others().await;
        let mut submitting = pin!(submission);
        let mut following = pin!(self.follow());
        let mut telling = pin!(self.tell_others(is_behind));
        let (mut submitted, mut told) = (None, false);
        // None: interrupted.
        let ended = loop {
            tokio::select! {
                biased;
                () = stops.next() => break None,
                done = &mut submitting, if submitted.is_none() => match done {
                    Ok(Some(Submitted { batch, end: End::Broken(error), .. })) => {
                        Receipts::note_ended(self.session, batch);
                        break Some(Err(error));
                    }
                    Ok(done) => submitted = Some(done),
                    Err(error) => break Some(Err(error)),
                },
                done = &mut following => break Some(done),
                () = &mut telling, if !told => told = true,
                error = worker.fail() => break Some(Err(error)),
                error = self.cannot_run() => break Some(Err(error)),
            }
        };
        printer.bar(None::<String>);
        let ended = match ended {
            Some(Ok(view)) => {
                worker.stop_now().await?;
                Ok(view)
            }
            Some(Err(error)) => Err(error),
            None => {
                printer.note("stopping: what runs gets time to end; Ctrl-C again stops now");
                worker.drain(stops.next()).await?;
                let interrupted = signal::interrupted();
                Err(match *self.batch.borrow() {
                    Some(batch) => interrupted.with_hint(format!("`afn batch resume {batch}` goes on")),
                    None => interrupted,
                })
            }
        };
        stops.or_next(worker.close()).await;
        let view = ended?;
        let bad = match submitted.flatten().map(|submitted| submitted.end) {
            Some(End::BadRecord(bad)) => Some(bad),
            Some(End::Source | End::Cancelled | End::Broken(_)) | None => None,
        };
        ending::print_summary(self, &view, bad.as_ref()).await
    }

    /// Whether messages lie on the queue before any of this batch do.
    async fn is_behind_others(&self) -> bool {
        let depth = self.engine.deps.queues.chunks.live.depth().await;
        depth.is_ok_and(|depth| depth.visible + depth.in_flight + depth.delayed > 0)
    }

    /// Names the batches that share the queue with this one: their messages are received here first. In a local context the worker
    /// of this process runs their calls too.
    async fn tell_others(&self, is_behind: bool) {
        let mut known = self.batch.subscribe();
        let batch = known.wait_for(Option::is_some).await.ok().and_then(|batch| *batch);
        let Some(batch) = batch.filter(|_| is_behind) else { return };
        // For people: tried once.
        let others = others(&self.engine.deps, batch, limits::OTHER_BATCHES_MAX).await.unwrap_or_default();
        for other in others.iter().take(OTHERS_TOLD) {
            let id = other.batch;
            self.session.printer.note(format!(
                "shares the queue with {other}: `afn batch resume {id}` goes on with it, `afn batch cancel {id}` ends it"
            ));
        }
    }

    /// Returns once the worker of this process cannot run the calls of its own batch and no other worker has run any: most
    /// likely no worker ever will.
    async fn cannot_run(&self) -> Error {
        let why = self.events.mismatch().await;
        let Some(batch) = *self.batch.borrow() else { return std::future::pending().await };
        self.engine.deps.clock.sleep(OTHERS_GET).await;
        let outcomes = List::all(key::outcomes(&self.own.app, batch)).max(1);
        match self.engine.deps.store.list(&outcomes).await {
            Ok(listed) if listed.entries.is_empty() => {
                let what = format!("no worker seen that can run batch {batch}: {why}");
                Error::new(Code::Stopped, what).with_hint(format!(
                    "its calls stay queued: start a worker that can run them, or `afn batch cancel {batch}`"
                ))
            }
            _ => std::future::pending().await,
        }
    }

    /// Waits for the batch to end, collects it, and waits until its follow-up was sent.
    async fn follow(&self) -> Result<BatchView> {
        let mut known = self.batch.subscribe();
        let batch = known.wait_for(Option::is_some).await.ok().and_then(|batch| *batch);
        let Some(batch) = batch else { return std::future::pending().await };
        let (printer, deps) = (&self.session.printer, &self.engine.deps);
        let mut follow = Follow::begin(printer, deps, self.style, Some(&self.events), batch).await?;
        let view = follow.until(|view| view.status.is_final(), |_| {}).await?;
        if !self.run.collected {
            let mut incomplete = ending::collect(self, &view).await?;
            self.remember(batch, true);
            if let Some(last) = incomplete.pop() {
                incomplete.iter().for_each(|error| printer.warning(error));
                return Err(last);
            }
        }
        follow.silence();
        follow.until(|view| view.fired.is_some(), |_| {}).await
    }
}
