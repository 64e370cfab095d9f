//! `afn batch retry`. The retry of a batch of `batch run` is worked on here too, and the output of the run is written again.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use crate::cli::batch::follow::{self, LocalEvents};
use crate::cli::batch::receipt::{Receipts, RunReceipt};
use crate::cli::batch::{Job, own_batch};
use crate::cli::command::submit::batch_options;
use crate::cli::exit::ExitCode;
use crate::cli::find;
use crate::cli::options::{BatchArgs, PolicyFlags, SourceFlags, WorkFlags};
use crate::cli::session::Session;
use crate::cli::signal::{self, StopSignals};
use crate::embedded::Engine;
use crate::error::{Error, Result};
use crate::model::BatchId;
use crate::results;
use crate::submit::batch::End;
use crate::submit::retry::{Retried, retry};

#[derive(Debug, Clone, Args)]
pub struct BatchRetryArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    #[command(flatten)]
    pub policy: PolicyFlags,

    #[command(flatten, next_help_heading = "Options for batches of `batch run`")]
    pub work: WorkFlags,
}

pub async fn run(session: &Session, args: BatchRetryArgs) -> Result<ExitCode> {
    let events = Arc::new(LocalEvents::new(&session.printer));
    let engine = session.open_with(events.clone()).await?;
    let batch = find::batch_in(session, &engine, args.of.batch)?;
    let receipt = Receipts::of(session)?.find(batch)?;
    let run = receipt.and_then(|receipt| receipt.run).map(|run| receipt_of_retry(run, batch, &args.work));
    if let Some(destination) = run.as_ref().and_then(RunReceipt::destination) {
        let form = run.as_ref().map(|run| run.form).unwrap_or_default();
        destination.check(form, true)?;
    }
    let options = batch_options(&SourceFlags::default(), args.policy);
    let retried = signal::or_interrupted(retry(&engine.deps, batch, options, &|_| {})).await?;
    if let Some(End::Broken(error)) = retried.resumed.submitted.as_ref().map(|submitted| &submitted.end) {
        return Err(error.clone());
    }
    if retried.repeated {
        session.printer.hint(format!("the failures of {batch} are retried already, by this batch"));
    }
    match run {
        None => print_submitted(session, &engine, batch, retried).await.map(|()| ExitCode::Success),
        Some(run) => work_on(session, &engine, events, &args.work, run, retried.batch).await,
    }
}

/// The output of the run is written again, with the outcomes of all its retries. What it had of joblog and report is about the
/// calls that it ran itself, and stays.
fn receipt_of_retry(run: RunReceipt, retried: BatchId, work: &WorkFlags) -> RunReceipt {
    RunReceipt {
        latest_of: Some(run.latest_of.unwrap_or(retried)),
        force: true,
        joblog: None,
        report: None,
        concurrency: work.concurrency.or(run.concurrency),
        collected: false,
        ..run
    }
}

async fn work_on(
    session: &Session,
    engine: &Engine,
    events: Arc<LocalEvents>,
    work: &WorkFlags,
    run: RunReceipt,
    batch: BatchId,
) -> Result<ExitCode> {
    let stops = StopSignals::catch()?;
    let view = results::batch::load(&engine.deps, batch).await?;
    let (Some(function), Some(version)) = (&view.function, &view.version) else {
        return Err(Error::conflict(format!("batch {batch} has finished and was deleted")));
    };
    let version = engine.catalog.version(&view.app, function, version).await?;
    let job = Job {
        session,
        engine,
        own: own_batch(engine, &view.app, function, version, &run).await?,
        events,
        style: follow::resolve(work.progress.progress, &session.printer),
        run,
        source: None,
        begun: engine.deps.clock.monotonic(),
        batch: watch::Sender::new(None),
    };
    job.begin(batch);
    job.run(stops, async { Ok(None) }).await
}

/// Other workers run it.
async fn print_submitted(session: &Session, engine: &Engine, batch: BatchId, retried: Retried) -> Result<()> {
    let app = results::batch::app_of(&engine.deps, batch).await?;
    Receipts::remember(session, engine, &app, retried.batch, None, None);
    let calls = match &retried.resumed.submitted {
        Some(submitted) => Some(submitted.calls),
        None => results::batch::load(&engine.deps, retried.batch).await?.calls,
    };
    session.printer.hint(format!(
        "`afn batch wait {}` waits until workers have run it; then `afn batch results {batch} --latest` shows both",
        retried.batch
    ));
    session.printer.line(json!({ "batch_id": retried.batch, "calls": calls }))
}
