//! `afn worker`

use std::sync::Arc;

use tokio::sync::watch;

use crate::cli::args::WorkerArgs;
use crate::cli::executors;
use crate::cli::exit::ExitCode;
use crate::cli::lines::Lines;
use crate::cli::session::Session;
use crate::cli::signal::Stops;
use crate::error::Result;
use crate::worker::{Stop, Worker};

pub async fn run(session: &Session, args: WorkerArgs) -> Result<ExitCode> {
    let mut stops = Stops::catch()?;
    let lines = Arc::new(Lines::new(&session.printer));
    let engine = session.open_with(lines.clone()).await?;
    let slots = executors::slots(args.concurrency);
    let executor = executors::open(session, &engine, slots).await?;
    let mut config = executors::config(session, &engine, slots)?;
    config.grace = args.grace.unwrap_or(config.grace);
    config.visibility = args.visibility.unwrap_or(config.visibility);
    config.until_dry = args.drain;
    let (stop, wanted) = watch::channel(Stop::Run);
    let worker = Worker::new(engine.seams.clone(), executor.clone(), config);
    let ended = tokio::select! {
        biased;
        ended = worker.run(wanted) => ended,
        never = stops.drive(&stop, &session.printer) => match never {},
    };
    executor.close().await;
    lines.finish();
    ended?;
    Ok(match *stop.borrow() {
        // Asked to end, and ended well.
        Stop::Run | Stop::Drain => ExitCode::Success,
        Stop::Now => ExitCode::Stopped,
    })
}
