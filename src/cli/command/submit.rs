//! `afn submit`

use serde_json::json;

use crate::cli::args::{BatchSubmitArgs, SubmitArgs};
use crate::cli::command::batch;
use crate::cli::session::Session;
use crate::cli::submission;
use crate::error::Result;

pub async fn run(session: &Session, args: SubmitArgs) -> Result<()> {
    if let Some(input) = args.input {
        let SubmitArgs { app, function, source, policy, .. } = args;
        let batch = BatchSubmitArgs { app, function, input, source, policy, dry_run: false };
        return batch::submit::run(session, batch).await;
    }
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
    if session.printer.is_json() {
        let record = json!({ "call_id": accepted.call, "repeated": accepted.repeated });
        return session.printer.json(&record);
    }
    session.printer.line(accepted.call)
}
