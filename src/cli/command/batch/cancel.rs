//! `afn batch cancel`

use crate::cli::args::BatchCancelArgs;
use crate::cli::batch::which;
use crate::cli::command::cancel::who;
use crate::cli::hint;
use crate::cli::session::{Engine, Session};
use crate::error::Result;
use crate::model::BatchId;
use crate::results;
use crate::submit::cancel_batch;

pub async fn run(session: &Session, args: BatchCancelArgs) -> Result<()> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    cancel(session, &engine, batch, args.reason).await
}

/// `afn cancel BATCH` is the same.
pub async fn cancel(
    session: &Session,
    engine: &Engine,
    batch: BatchId,
    reason: Option<String>,
) -> Result<()> {
    let by = who(session)?;
    let reason = reason.unwrap_or_else(|| format!("cancelled by {by}"));
    let cancelled = cancel_batch::cancel(&engine.seams, batch, &by, &reason).await?;
    session.printer.done(format!("{batch} is being cancelled: {}", cancelled.reason), &cancelled)?;
    // Workers end it: where there are none, it waits for one.
    let view = results::batch::load(&engine.seams, batch).await?;
    hint::tell_of_batch(&session.printer, &engine.seams, &view).await
}
