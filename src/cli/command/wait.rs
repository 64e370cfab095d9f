//! `afn wait`, and `afn batch wait` and `watch`

use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use crate::cli::batch::follow::{Follow, resolve};
use crate::cli::exit::ExitCode;
use crate::cli::options::{BatchArgs, CallOrBatchArgs, ProgressFlags, ProgressStyle};
use crate::cli::parse::{self, CallOrBatch};
use crate::cli::session::Session;
use crate::cli::{find, view, waiting};
use crate::embedded::Engine;
use crate::error::Result;
use crate::model::BatchId;

#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub of: CallOrBatchArgs,

    #[command(flatten)]
    pub limit: WaitFlags,
}

#[derive(Debug, Clone, Args)]
pub struct BatchWaitArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    #[command(flatten)]
    pub limit: WaitFlags,
}

#[derive(Debug, Clone, Args)]
pub struct WaitFlags {
    /// Give up after this long and exit 4; without it, there is no limit.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct BatchWatchArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    #[command(flatten)]
    pub progress: ProgressFlags,
}

pub async fn run(session: &Session, args: WaitArgs) -> Result<ExitCode> {
    let (engine, limit) = (session.open().await?, args.limit.timeout);
    let call = match args.of.id {
        CallOrBatch::Batch(batch) => return wait_for_batch(session, &engine, batch, limit).await,
        CallOrBatch::Call(call) => call,
    };
    let (printer, deps) = (&session.printer, &engine.deps);
    let call = find::call(deps, args.of.app.as_ref(), call).await?;
    let call = waiting::wait_for_call(printer, deps, &call.app, call.id, limit).await?;
    printer.answer(&call, &view::call_block(&call))?;
    Ok(ExitCode::of_call(call.state))
}

pub async fn batch(session: &Session, args: BatchWaitArgs) -> Result<ExitCode> {
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    wait_for_batch(session, &engine, batch, args.limit.timeout).await
}

async fn wait_for_batch(
    session: &Session,
    engine: &Engine,
    batch: BatchId,
    limit: Option<Duration>,
) -> Result<ExitCode> {
    let ended = waiting::wait_for_batch(&session.printer, &engine.deps, batch, limit).await?;
    session.printer.answer(&ended, &view::batch_details(&ended, None, &[]))?;
    Ok(ExitCode::of_batch(ended.status))
}

pub async fn watch(session: &Session, args: BatchWatchArgs) -> Result<ExitCode> {
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    let (printer, deps) = (&session.printer, &engine.deps);
    let style = resolve(args.progress.progress, printer);
    let mut follow = Follow::begin(printer, deps, style, None, batch).await?;
    let (seen, _) = watch::channel(None);
    let ended = tokio::select! {
        biased;
        ended = follow.until(
            |view| view.status.is_final(),
            |view| _ = seen.send_replace(Some(view.clone())),
        ) => ended?,
        never = waiting::explain_batch(printer, deps, &seen) => match never {},
    };
    if style != ProgressStyle::Json {
        printer.text(&view::batch_details(&ended, None, &[]))?;
    }
    Ok(ExitCode::of_batch(ended.status))
}
