//! `afn gc`

use serde_json::json;

use crate::cli::args::GcArgs;
use crate::cli::call_view::bytes;
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::error::Result;
use crate::worker::{delete, reconcile};

pub async fn run(session: &Session, args: GcArgs) -> Result<()> {
    let engine = session.open().await?;
    let resent = match args.dry_run {
        true => None,
        false => Some(reconcile::resend_lost(&engine.seams).await?),
    };
    let report = delete::gc(&engine.seams, args.dry_run).await?;
    let verb = if args.dry_run { "would be deleted" } else { "deleted" };
    let mut line = format!(
        "{}, {} and {} {verb}: {}, {}",
        plural(report.calls, "call"),
        if report.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", report.batches) },
        plural(report.idempotency_keys, "idempotency key"),
        plural(report.objects, "object"),
        bytes(report.bytes)
    );
    if let Some(resent) = resent {
        line.push_str(&format!("; {} sent again", plural(resent, "call")));
    }
    let record = json!({ "dry_run": args.dry_run, "deleted": report, "resent": resent });
    session.printer.done(line, &record)
}
