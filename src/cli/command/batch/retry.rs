//! `afn batch retry`

use clap::Args;
use serde_json::json;

use crate::cli::batch::receipt::Receipts;
use crate::cli::command::submit::batch_options;
use crate::cli::find;
use crate::cli::options::{BatchArgs, PolicyFlags, SourceFlags};
use crate::cli::session::Session;
use crate::error::Result;
use crate::results;
use crate::submit::batch::End;
use crate::submit::retry::retry;

#[derive(Debug, Clone, Args)]
pub struct BatchRetryArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    #[command(flatten)]
    pub policy: PolicyFlags,
}

pub async fn run(session: &Session, args: BatchRetryArgs) -> Result<()> {
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    let app = results::batch::app_of(&engine.deps, batch).await?;
    let options = batch_options(&SourceFlags::default(), args.policy);
    let retried = retry(&engine.deps, batch, options, &|_| {}).await?;
    Receipts::remember(session, &engine, &app, retried.batch, None, None);
    if let Some(End::Broken(error)) = retried.resumed.submitted.as_ref().map(|submitted| &submitted.end) {
        return Err(error.clone());
    }
    let calls = match &retried.resumed.submitted {
        Some(submitted) => Some(submitted.calls),
        None => results::batch::load(&engine.deps, retried.batch).await?.calls,
    };
    if retried.repeated {
        session.printer.hint(format!("the failures of {batch} are retried already, by this batch"));
    }
    session.printer.hint(format!(
        "`afn batch wait {}` waits until workers have run it; then `afn batch results {batch} --latest` shows both",
        retried.batch
    ));
    session.printer.line(json!({ "batch_id": retried.batch, "calls": calls }))
}
