//! `afn wait`

use crate::cli::args::WaitArgs;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::{call_view, find, waiting};
use crate::error::Result;

pub async fn run(session: &Session, args: WaitArgs) -> Result<ExitCode> {
    let engine = session.open().await?;
    let call = find::call_anywhere(&engine.seams, &args.call).await?;
    let call = waiting::wait(&session.printer, &engine, &call.app, call.id, args.timeout).await?;
    match session.printer.is_json() {
        true => session.printer.json(&call)?,
        false => session.printer.data(call_view::block(&call))?,
    }
    Ok(ExitCode::of_call(call.state))
}
