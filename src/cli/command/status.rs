//! `afn status`, and `afn batch status`

use serde_json::json;

use crate::cli::format::plural;
use crate::cli::options::{BatchArgs, CallOrBatchArgs};
use crate::cli::parse::CallOrBatch;
use crate::cli::session::Session;
use crate::cli::{find, view};
use crate::embedded::Engine;
use crate::error::Result;
use crate::limits;
use crate::model::BatchId;
use crate::results::cost::Cost;
use crate::results::open::others;
use crate::results::reasons;
use crate::results::why::{why, why_batch};
use crate::results::{self, attempts};

/// Reasons for failures that are shown.
const REASONS_SHOWN: usize = 5;

pub async fn run(session: &Session, args: CallOrBatchArgs) -> Result<()> {
    let engine = session.open().await?;
    let call = match args.id {
        CallOrBatch::Batch(batch) => return show_batch(session, &engine, batch).await,
        CallOrBatch::Call(call) => call,
    };
    let call = find::call(&engine.deps, args.app.as_ref(), call).await?;
    let why = why(&engine.deps, &call).await?;
    let failed = attempts::earlier(&engine.deps, &call).await?;
    let text = view::call_details(&call, why.as_deref(), &failed);
    let mut record = view::call_record(&call, &failed)?;
    record["why"] = json!(why);
    session.printer.answer(&record, &text)
}

pub async fn batch(session: &Session, args: BatchArgs) -> Result<()> {
    let (engine, batch) = find::batch(session, args.batch).await?;
    show_batch(session, &engine, batch).await
}

async fn show_batch(session: &Session, engine: &Engine, batch: BatchId) -> Result<()> {
    let batch = results::batch::load(&engine.deps, batch).await?;
    let why = why_batch(&engine.deps, &batch).await?;
    let others = match batch.status.is_final() {
        true => Vec::new(),
        // For people. A role for one app may not list the batches of others.
        false => others(&engine.deps, batch.batch, limits::OTHER_BATCHES_MAX).await.unwrap_or_default(),
    };
    let mut text = view::batch_details(&batch, why.as_deref(), &others);
    // For people too: what cannot be read is told by `batch results`.
    let failures = reasons::of_first_calls(&engine.deps, &batch).await.unwrap_or_default();
    for group in failures.iter().take(REASONS_SHOWN) {
        text.add("Failed For", format!("{} ({})", group.reason, plural(group.calls, "call")));
    }
    let mut record = view::value(&batch)?;
    record["why"] = json!(why);
    record["failures"] = json!(failures);
    record["pace_per_s"] = json!(batch.pace_per_s());
    record["ends_at"] = json!(batch.ends_at());
    record["other_batches"] = json!(others);
    record["cost"] = json!(Cost::of(batch.requests, batch.decided, None));
    session.printer.answer(&record, &text)
}
