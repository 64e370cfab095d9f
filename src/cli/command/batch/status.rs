//! `afn batch status`

use serde_json::{Value, json};

use crate::cli::args::BatchArg;
use crate::cli::batch::{view, which};
use crate::cli::session::{Engine, Session};
use crate::error::{Error, Result};
use crate::model::BatchId;
use crate::results;
use crate::results::cost::Cost;
use crate::results::why::why_batch;

pub async fn run(session: &Session, args: BatchArg) -> Result<()> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch)?;
    show(session, &engine, batch).await
}

/// `afn status BATCH` is the same.
pub async fn show(session: &Session, engine: &Engine, batch: BatchId) -> Result<()> {
    let found = results::batch::load(&engine.seams, batch).await?;
    let why = why_batch(&engine.seams, &found).await?;
    if !session.printer.is_json() {
        return session.printer.data(view::detailed(&found, why.as_deref()));
    }
    let mut record = serde_json::to_value(&found)
        .map_err(|error| Error::internal(format!("encode the answer: {error}")))?;
    record["why"] = why.map_or(Value::Null, Value::String);
    record["cost"] = json!(Cost::of(found.requests, found.decided, None));
    session.printer.json(&record)
}
