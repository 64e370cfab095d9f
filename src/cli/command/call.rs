//! `afn call`

use serde_json::json;

use crate::cli::args::CallArgs;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::{submission, waiting};
use crate::error::Result;
use crate::model::Kind;

pub async fn run(session: &Session, args: CallArgs) -> Result<ExitCode> {
    let engine = session.open().await?;
    let accepted = submission::submit(
        &session.printer,
        &engine,
        &args.app,
        &args.function,
        args.payload,
        args.submission,
    )
    .await?;
    if args.display_call_id {
        session.printer.beside(format!("Call ID: {}", accepted.call));
    }
    let limit = match (accepted.function.kind, args.wait) {
        (Kind::Async, None) => {
            // Fn's very bytes, and a line end.
            session.printer.line(json!({ "call_id": accepted.call }))?;
            return Ok(ExitCode::Success);
        }
        (_, limit) => limit.flatten(),
    };
    let call = waiting::wait(&session.printer, &engine, &args.app, accepted.call, limit).await?;
    waiting::answer(&session.printer, &engine.seams, &call).await
}
