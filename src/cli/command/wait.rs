//! `afn wait`

use crate::cli::args::{CallOrBatch, WaitArgs};
use crate::cli::command::batch;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::{call_view, find, waiting};
use crate::error::Result;

pub async fn run(session: &Session, args: WaitArgs) -> Result<ExitCode> {
    let engine = session.open().await?;
    let which = match args.call.id {
        CallOrBatch::Batch(batch) => return batch::wait_for(session, &engine, batch, args.timeout).await,
        CallOrBatch::Call(which) => which,
    };
    let call = find::call_anywhere(&engine.seams, args.call.app.as_ref(), which).await?;
    let call = waiting::wait(&session.printer, &engine, &call.app, call.id, args.timeout).await?;
    match session.printer.is_json() {
        true => session.printer.json(&call)?,
        false => session.printer.data(call_view::block(&call))?,
    }
    Ok(ExitCode::of_call(call.state))
}
