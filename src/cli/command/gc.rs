//! `afn gc`

use clap::Args;
use serde_json::json;

use crate::cli::format::{bytes, plural};
use crate::cli::session::Session;
use crate::error::Result;
use crate::worker::{delete, reconcile};

#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Show what would be deleted, and change nothing. Lost messages are not looked for.
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn run(session: &Session, args: GcArgs) -> Result<()> {
    let engine = session.open().await?;
    let resent = match args.dry_run {
        true => None,
        false => Some(reconcile::resend_lost(&engine.deps).await?),
    };
    let report = delete::gc(&engine.deps, args.dry_run).await?;
    let verb = if args.dry_run { "would be deleted" } else { "deleted" };
    let mut line = format!(
        "{}, {} and {} {verb}: {}, {}",
        plural(report.calls, "call"),
        plural(report.batches, "batch"),
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
