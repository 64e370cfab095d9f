//! `afn batch retry`

use serde_json::json;

use super::submit::remember;
use crate::cli::args::{BatchRetryArgs, SourceFlags};
use crate::cli::batch::{source, which};
use crate::cli::session::Session;
use crate::error::Result;
use crate::results;
use crate::submit::retry::retry;

pub async fn run(session: &Session, args: BatchRetryArgs) -> Result<()> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    let app = results::batch::app_of(&engine.seams, batch).await?;
    let options = source::options(&SourceFlags::default(), args.policy);
    let retried = retry(&engine.seams, batch, options, &|_| {}).await?;
    remember(session, &engine, &app, retried.batch);
    let calls = retried.resumed.submitted.as_ref().map(|submitted| submitted.calls);
    let calls = match calls {
        Some(calls) => Some(calls),
        None => results::batch::load(&engine.seams, retried.batch).await?.calls,
    };
    if retried.repeated {
        session.printer.hint(format!("the failures of {batch} are retried already, this is that batch"));
    }
    session.printer.hint(format!(
        "`afn batch wait {}` waits until workers have run it; then `afn batch results {batch} --latest` shows both",
        retried.batch
    ));
    session.printer.line(json!({ "batch_id": retried.batch, "calls": calls }))
}
