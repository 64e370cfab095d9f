//! `afn start`: a worker and the HTTP API in one process.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::api;
use crate::cli::args::StartArgs;
use crate::cli::executors;
use crate::cli::exit::ExitCode;
use crate::cli::lines::Lines;
use crate::cli::session::Session;
use crate::cli::signal::Stops;
use crate::error::{Error, Result};
use crate::worker::{Stop, Worker};

pub async fn run(session: &Session, args: StartArgs) -> Result<ExitCode> {
    let mut stops = Stops::catch()?;
    let listener = listen(args.port).await?;
    let lines = Arc::new(Lines::new(&session.printer));
    let engine = session.open_with(lines.clone()).await?;
    let slots = executors::slots(args.concurrency);
    let executor = executors::open(session, &engine, slots).await?;
    let mut config = executors::config(session, &engine, slots)?;
    config.grace = args.grace.unwrap_or(config.grace);
    let address = listener.local_addr().map_err(|error| Error::internal(format!("listen: {error}")))?;
    session.printer.note(format!("afn listens on http://{address}, context {}", engine.context.name));

    let (stop, wanted) = watch::channel(Stop::Run);
    let state = api::State { seams: engine.seams.clone(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let worker = Worker::new(engine.seams.clone(), executor.clone(), config);
    // The API goes on until the worker has drained, so that whoever waits for a running call still gets its answer.
    let (drained, until_drained) = oneshot::channel::<()>();
    let working = async {
        let ended = worker.run(wanted).await;
        drop(drained);
        ended
    };
    let serving = api::serve(listener, state, async {
        let _ = until_drained.await;
    });
    let ended = tokio::select! {
        biased;
        ended = async { tokio::try_join!(working, serving) } => ended,
        never = stops.drive(&stop, &session.printer) => match never {},
    };
    executor.close().await;
    lines.finish();
    ended?;
    Ok(match *stop.borrow() {
        Stop::Run | Stop::Drain => ExitCode::Success,
        Stop::Now => ExitCode::Stopped,
    })
}

/// The loopback address alone: whoever may call functions here is whoever can log in here.
async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        Error::conflict(format!("listen on 127.0.0.1:{port}: {error}")).hint(
            "`--port` chooses another, `--port 0` a free one; `afn worker` runs calls without listening",
        )
    })
}
