//! `afn batch pause`, `unpause` and `limit`

use clap::Args;

use crate::cli::find;
use crate::cli::options::{BatchArgs, LimitFlags};
use crate::cli::session::Session;
use crate::error::{Error, Result};
use crate::model::BatchLimits;
use crate::submit::control::{self, Change};

#[derive(Debug, Clone, Args)]
pub struct BatchLimitArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    #[command(flatten)]
    pub limits: LimitFlags,

    /// Take all limits away.
    #[arg(long, conflicts_with_all = ["max_concurrency", "max_rate"])]
    pub none: bool,
}

pub async fn pause(session: &Session, args: BatchArgs) -> Result<()> {
    change(session, args, Change { paused: Some(true), limits: None }).await
}

pub async fn unpause(session: &Session, args: BatchArgs) -> Result<()> {
    change(session, args, Change { paused: Some(false), limits: None }).await
}

pub async fn limit(session: &Session, args: BatchLimitArgs) -> Result<()> {
    let limits = BatchLimits::from(args.limits);
    if limits.is_none() && !args.none {
        return Err(Error::invalid("no limit was given")
            .with_hint("--max-concurrency COUNT, --max-rate RATE, or --none to take all limits away"));
    }
    change(session, args.of, Change { paused: None, limits: Some(limits) }).await
}

async fn change(session: &Session, args: BatchArgs, change: Change) -> Result<()> {
    let (engine, batch) = find::batch(session, args.batch).await?;
    let control = control::change(&engine.deps, batch, &session.user()?, change).await?;
    let what = match (change.paused, control.paused) {
        (Some(true), _) => format!(
            "{batch} is paused: what runs ends, nothing more begins; `afn batch unpause {batch}` lets it go on"
        ),
        (Some(false), _) => format!("{batch} goes on: workers look at it within two minutes"),
        (None, false) => format!("{batch} has {}; what runs now ends as it began", control.limits),
        (None, true) => format!("{batch} has {}, and is paused", control.limits),
    };
    session.printer.done(what, &control)
}
