//! `afn batch watch` and `wait`

use std::sync::Mutex;
use std::time::Duration;

use crate::cli::args::{BatchWaitArgs, BatchWatchArgs, ProgressStyle};
use crate::cli::batch::ending::exit_code;
use crate::cli::batch::follow::{Follow, resolve};
use crate::cli::batch::{view, which};
use crate::cli::exit::ExitCode;
use crate::cli::hint;
use crate::cli::session::{Engine, Session};
use crate::error::Result;
use crate::model::BatchId;
use crate::results::{self, BatchView};

pub async fn watch(session: &Session, args: BatchWatchArgs) -> Result<ExitCode> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    let style = resolve(args.progress, &session.printer);
    let mut follow = Follow::begin(&session.printer, &engine.seams, style, None, batch).await?;
    let seen = Mutex::new(None);
    let ended = tokio::select! {
        biased;
        ended = follow.until(|view| view.status.is_final(), |view| note(&seen, view)) => ended?,
        never = hint::keep_telling_of_batch(&session.printer, &engine.seams, &seen) => match never {},
    };
    if style != ProgressStyle::Json {
        session.printer.data(view::detailed(&ended, None))?;
    }
    Ok(exit_code(ended.status))
}

pub async fn wait(session: &Session, args: BatchWaitArgs) -> Result<ExitCode> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    wait_for(session, &engine, batch, args.timeout).await
}

/// `afn wait BATCH` is the same.
pub async fn wait_for(
    session: &Session,
    engine: &Engine,
    batch: BatchId,
    limit: Option<Duration>,
) -> Result<ExitCode> {
    let seen = Mutex::new(None);
    let ended = tokio::select! {
        biased;
        ended = results::batch::wait(&engine.seams, batch, limit, |look| note(&seen, &look.view)) => ended?,
        never = hint::keep_telling_of_batch(&session.printer, &engine.seams, &seen) => match never {},
    };
    match session.printer.is_json() {
        true => session.printer.json(&ended)?,
        false => session.printer.data(view::detailed(&ended, None))?,
    }
    Ok(exit_code(ended.status))
}

fn note(seen: &Mutex<Option<BatchView>>, view: &BatchView) {
    *seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(view.clone());
}
