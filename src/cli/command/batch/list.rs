//! `afn batch list`

use crate::cli::args::BatchListArgs;
use crate::cli::session::Session;
use crate::cli::table::table;
use crate::error::Result;
use crate::limits::LIST_BATCHES_DEFAULT;
use crate::results::batch::list;

pub async fn run(session: &Session, args: BatchListArgs) -> Result<()> {
    let engine = session.open().await?;
    let found = list(&engine.seams, &args.app, args.max, args.cursor).await?;
    if session.printer.is_json() {
        return session.printer.json(&found);
    }
    if found.batches.is_empty() {
        session.printer.note(format!("No batches found in app {}", args.app));
        return Ok(());
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = found
        .batches
        .iter()
        .map(|row| {
            [
                row.batch.to_string(),
                text(row.route.as_ref().map(ToString::to_string)),
                row.status.to_string(),
                text(row.calls.map(|calls| calls.to_string())),
                row.created_at.to_string(),
            ]
        })
        .collect();
    session.printer.data(table(["BATCH", "PATH", "STATUS", "CALLS", "CREATED AT"], &rows))?;
    if let Some(cursor) = found.cursor {
        let app = &args.app;
        let max = match args.max {
            LIST_BATCHES_DEFAULT => String::new(),
            max => format!(" -n {max}"),
        };
        session.printer.hint(format!("there may be more: `afn batch list {app}{max} --cursor {cursor}`"));
    }
    Ok(())
}
