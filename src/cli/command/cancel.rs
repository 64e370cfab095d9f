//! `afn cancel`

use serde_json::json;

use crate::cli::args::{AppAndCall, CallOrBatch};
use crate::cli::command::batch;
use crate::cli::find;
use crate::cli::session::Session;
use crate::error::Result;
use crate::submit::cancel::cancel;
use crate::submit::cancel_batch;

pub async fn run(session: &Session, args: AppAndCall) -> Result<()> {
    let engine = session.open().await?;
    let which = match args.id {
        CallOrBatch::Batch(batch) => return batch::cancel(session, &engine, batch, None).await,
        CallOrBatch::Call(which) => which,
    };
    let call = find::call_anywhere(&engine.seams, args.app.as_ref(), which).await?;
    let by = who(session)?;
    let done = format!("{} cancelled", call.id);
    if call.id.batch().is_some() {
        let row = cancel_batch::cancel_call(&engine.seams, call.id, &by).await?;
        let record = json!({ "call_id": call.id, "status": row.status, "reason": row.error });
        return session.printer.done(done, &record);
    }
    let outcome = cancel(&engine.seams, &call.app, call.id, &by).await?;
    session.printer.done(done, &outcome)
}

/// `alice@laptop`, for whoever wonders later.
pub fn who(session: &Session) -> Result<String> {
    let user = session.env.text("USER")?.unwrap_or_else(|| "somebody".to_owned());
    let system = rustix::system::uname();
    Ok(format!("{user}@{}", system.nodename().to_string_lossy()))
}
