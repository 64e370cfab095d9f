//! `afn submit`

use serde_json::json;

use crate::cli::args::SubmitArgs;
use crate::cli::session::Session;
use crate::cli::submission;
use crate::error::Result;

pub async fn run(session: &Session, args: SubmitArgs) -> Result<()> {
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
