//! `afn status`

use serde_json::Value;

use crate::cli::args::{AppAndCall, CallOrBatch};
use crate::cli::command::batch;
use crate::cli::session::Session;
use crate::cli::{call_view, find};
use crate::error::Result;
use crate::results::attempts;
use crate::results::why::why;

pub async fn run(session: &Session, args: AppAndCall) -> Result<()> {
    let engine = session.open().await?;
    let which = match args.id {
        CallOrBatch::Batch(batch) => return batch::show(session, &engine, batch).await,
        CallOrBatch::Call(which) => which,
    };
    let call = find::call_anywhere(&engine.seams, args.app.as_ref(), which).await?;
    let why = why(&engine.seams, &call).await?;
    if !session.printer.is_json() {
        let earlier = attempts::earlier(&engine.seams, &call).await?;
        return session.printer.data(call_view::detailed(&call, why.as_deref(), &earlier));
    }
    let mut record = call_view::record(&engine.seams, &call).await?;
    record["why"] = why.map_or(Value::Null, Value::String);
    session.printer.json(&record)
}
