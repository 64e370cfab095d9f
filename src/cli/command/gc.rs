//! `afn gc`

use clap::Args;
use serde_json::json;

use crate::cli::format::{bytes, plural};
use crate::cli::session::Session;
use crate::error::Result;
use crate::worker::upkeep::{self, Options};

#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Show what would be deleted, and change nothing. Lost messages are not looked for.
    #[arg(long)]
    pub dry_run: bool,

    /// Look at every call and batch, also at those that earlier turns have settled. One request for about 300 calls.
    #[arg(long)]
    pub all: bool,
}

pub async fn run(session: &Session, args: GcArgs) -> Result<()> {
    let engine = session.open().await?;
    let GcArgs { dry_run, all } = args;
    let report = upkeep::on_demand(&engine.deps, &session.user()?, Options { dry_run, all }).await?;
    let deleted = report.deleted;
    let verb = if dry_run { "would be deleted" } else { "deleted" };
    let mut line = format!(
        "{}, {} and {} {verb}: {}, {}",
        plural(deleted.calls, "call"),
        plural(deleted.batches, "batch"),
        plural(deleted.idempotency_keys, "idempotency key"),
        plural(deleted.objects, "object"),
        bytes(deleted.bytes)
    );
    if let Some(resent) = report.resent {
        line.push_str(&format!("; {} sent again", plural(resent, "call")));
    }
    let record = json!({ "dry_run": dry_run, "deleted": deleted, "resent": report.resent });
    session.printer.done(line, &record)
}
