//! `afn cancel`

use serde_json::json;

use crate::cli::args::{AppAndCall, CallOrBatch};
use crate::cli::command::batch;
use crate::cli::session::Session;
use crate::cli::{call_view, find};
use crate::error::Result;
use crate::limits;
use crate::model::{Outcome, State};
use crate::results::CallView;
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
    if call.id.batch().is_some() {
        let row = cancel_batch::cancel_call(&engine.seams, call.id, &by).await?;
        let record = json!({ "call_id": call.id, "status": row.status, "reason": row.error });
        return session.printer.done(format!("{} cancelled", call.id), &record);
    }
    let outcome = cancel(&engine.seams, &call.app, call.id, &by).await?;
    let record = json!({ "call_id": call.id, "status": outcome.status, "reason": outcome.reason });
    session.printer.done(told(&call, &outcome), &record)
}

/// What the cancel did to a call that stood so.
fn told(call: &CallView, outcome: &Outcome) -> String {
    let id = call.id;
    match (call.state, &call.worker) {
        (State::Cancelled, _) => format!("{id} was cancelled already"),
        (State::Running, Some(worker)) => {
            let ran_ms = call.started_at.map_or(0, |at| outcome.completed_at.since_ms(at));
            let within = (ran_ms / 10).clamp(limits::CANCEL_LOOK_MS_MIN, limits::CANCEL_LOOK_MS_MAX);
            format!("{id} cancelled while running: {worker} stops it within {}", call_view::millis(within))
        }
        _ => format!("{id} cancelled"),
    }
}

/// `alice@laptop`, for whoever wonders later.
pub fn who(session: &Session) -> Result<String> {
    let user = session.env.text("USER")?.unwrap_or_else(|| "somebody".to_owned());
    let system = rustix::system::uname();
    Ok(format!("{user}@{}", system.nodename().to_string_lossy()))
}
