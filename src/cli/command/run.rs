//! `afn run`: a function's folder, deployed into a store that is thrown away, called once by a worker in this process.
//! The path is the one that every call takes; only nothing of it stays.

use std::sync::Arc;

use tokio::sync::watch;

use super::deploy::Steps;
use crate::cli::args::{RunArgs, Submission};
use crate::cli::exit::ExitCode;
use crate::cli::lines::Lines;
use crate::cli::printer::Printer;
use crate::cli::session::Session;
use crate::cli::{executors, submission, waiting};
use crate::context::{Context, Kind};
use crate::deploy::{DeployRequest, ImageOptions, Way, deploy};
use crate::error::{Error, Result};
use crate::model::AppName;
use crate::results::{CallView, body};
use crate::seam::Seams;
use crate::submit::call::submit;
use crate::worker::{Stop, Worker};

pub async fn run(session: &Session, args: RunArgs) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("afn-run-").tempdir();
    let folder = folder.map_err(|error| Error::invalid(format!("make a temporary folder: {error}")))?;
    let mut context = Context::new("run".parse()?, Kind::Local);
    context.data_dir = Some(folder.path().to_owned());
    let app: AppName = "run".parse()?;
    let lines = Arc::new(Lines::new(&session.printer));
    let engine = session.open_context(context, lines.clone()).await?;

    let builder = executors::builder(session);
    let steps = Steps::new(&session.printer);
    let request = DeployRequest {
        dir: &args.path,
        all: false,
        app: Some(app.clone()),
        bump: false,
        way: if args.image { Way::Image } else { Way::Archive },
        image: ImageOptions::default(),
        builder: builder.as_ref().map(|builder| builder as _).map_err(Clone::clone),
        now: engine.seams.now(),
        progress: &|step| steps.on(step),
    };
    let deployed = steps.told(deploy(&engine.catalog, &request).await)?;
    let Some(deployed) = deployed.into_iter().next() else {
        return Err(Error::internal("a deploy of one function deployed none"));
    };
    let route = deployed.function.route.clone();
    let request =
        submission::request(&session.printer, app.clone(), route, args.payload, Submission::default())
            .await?;
    let call = submit(&engine.seams, request).await?.call;

    let executor = executors::open_for(session, &engine, 1, &deployed.version).await?;
    let config = executors::config(session, &engine, 1)?;
    let worker = Worker::new(engine.seams.clone(), executor.clone(), config);
    let (_go_on, wanted) = watch::channel(Stop::Run);
    // The worker is dropped where it stands once the outcome is there: its store goes with it.
    let ended = tokio::select! {
        biased;
        view = waiting::wait(&session.printer, &engine, &app, call, None) => view.map_err(bare),
        worker = worker.run(wanted) => Err(worker.err().unwrap_or_else(|| Error::internal("the worker stopped"))),
    };
    executor.close().await;
    lines.finish();
    let view = ended?;
    show_log(&session.printer, &engine.seams, &view).await?;
    waiting::answer(&session.printer, &engine.seams, &view).await.map_err(bare)
}

/// Hints name a call that goes with this process, and a log that was just shown.
fn bare(error: Error) -> Error {
    Error::new(error.code(), error.message())
}

async fn show_log(printer: &Printer, seams: &Seams, view: &CallView) -> Result<()> {
    let mut log = Vec::new();
    body::log(seams, view, &mut log).await?;
    String::from_utf8_lossy(&log).lines().for_each(|line| printer.note(line));
    Ok(())
}
