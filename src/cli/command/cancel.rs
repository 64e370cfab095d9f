//! `afn cancel`, and `afn batch cancel`

use clap::Args;
use serde_json::json;

use crate::cli::find;
use crate::cli::format::millis;
use crate::cli::options::{BatchArgs, CallOrBatchArgs};
use crate::cli::parse::CallOrBatch;
use crate::cli::session::Session;
use crate::embedded::Engine;
use crate::error::Result;
use crate::model::{BatchId, Outcome, State};
use crate::results::why::why_batch;
use crate::results::{self, CallView};
use crate::{limits, submit};

#[derive(Debug, Clone, Args)]
pub struct BatchCancelArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    /// The reason that is recorded.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

pub async fn run(session: &Session, args: CallOrBatchArgs) -> Result<()> {
    let engine = session.open().await?;
    let call = match args.id {
        CallOrBatch::Batch(batch) => return cancel_batch(session, &engine, batch, None).await,
        CallOrBatch::Call(call) => call,
    };
    let call = find::call(&engine.deps, args.app.as_ref(), call).await?;
    let by = session.user()?;
    if call.id.batch().is_some() {
        let row = submit::cancel_batch::cancel_call(&engine.deps, call.id, &by).await?;
        let record = json!({ "call_id": call.id, "status": row.status, "reason": row.error });
        return session.printer.done(format!("{} cancelled", call.id), &record);
    }
    let outcome = submit::cancel::cancel(&engine.deps, &call.app, call.id, &by).await?;
    let record = json!({ "call_id": call.id, "status": outcome.status, "reason": outcome.reason });
    session.printer.done(confirmation(&call, &outcome), &record)
}

/// `call`: as it was before the cancel.
fn confirmation(call: &CallView, outcome: &Outcome) -> String {
    let id = call.id;
    match (call.state, &call.worker) {
        (State::Cancelled, _) => format!("{id} was cancelled already"),
        (State::Running, Some(worker)) => {
            let ran_ms = call.started_at.map_or(0, |at| outcome.completed_at.since_ms(at));
            let within =
                (ran_ms / 10).clamp(limits::ms(limits::CANCEL_LOOK_MIN), limits::ms(limits::CANCEL_LOOK_MAX));
            format!("{id} cancelled while running: {worker} stops it within {}", millis(within))
        }
        _ => format!("{id} cancelled"),
    }
}

pub async fn batch(session: &Session, args: BatchCancelArgs) -> Result<()> {
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    cancel_batch(session, &engine, batch, args.reason).await
}

async fn cancel_batch(
    session: &Session,
    engine: &Engine,
    batch: BatchId,
    reason: Option<String>,
) -> Result<()> {
    let by = session.user()?;
    let reason = reason.unwrap_or_else(|| format!("cancelled by {by}"));
    let cancelled = submit::cancel_batch::cancel(&engine.deps, batch, &by, &reason).await?;
    session.printer.done(format!("{batch} is being cancelled: {}", cancelled.reason), &cancelled)?;
    // A worker has to end the batch: explain what it waits for.
    let view = results::batch::load(&engine.deps, batch).await?;
    if !session.printer.is_quiet
        && let Some(why) = why_batch(&engine.deps, &view).await?
    {
        session.printer.hint(format!("{batch} is {}: {why}", view.status));
    }
    Ok(())
}
