//! `afn run`: deploys a function's folder into a temporary store, and calls it once by a worker in this process.

use std::path::PathBuf;

use clap::Args;

use super::call::{self, PayloadArgs};
use super::deploy::deploy_folder;
use crate::cli::exit::ExitCode;
use crate::cli::log::LogWriter;
use crate::cli::options::LogFlags;
use crate::cli::printer::Printer;
use crate::cli::session::Session;
use crate::cli::waiting;
use crate::context::{Context, Kind};
use crate::embedded::{LocalWorker, Scope};
use crate::error::{Error, Result};
use crate::folder::Scratch;
use crate::model::{AppName, Config};
use crate::results::{CallView, body};
use crate::seam::Deps;
use crate::submit::call::submit;

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Build an image and run it in a container; without it, the folder's command is run as a child process.
    #[arg(long)]
    pub image: bool,

    #[command(flatten)]
    pub payload: PayloadArgs,

    #[command(flatten)]
    pub log: LogFlags,
}

pub async fn run(session: &Session, args: RunArgs) -> Result<ExitCode> {
    let folder = Scratch::new(&std::env::temp_dir(), "afn-run-");
    let folder = folder.map_err(|error| Error::invalid(format!("make a temporary folder: {error}")))?;
    let mut context = Context::new("run".parse()?, Kind::Local);
    context.data_dir = Some(folder.path().to_owned());
    let app: AppName = "run".parse()?;
    let log = LogWriter::background(&session.printer);
    let engine = session.open_context(context, log.clone()).await?;

    let deployed =
        deploy_folder(session, &engine, &args.path, app.clone(), args.image, Config::new()).await?;
    let route = deployed.function.route.clone();
    let request = call::request(&session.printer, app.clone(), route, args.payload).await?;
    let call = submit(&engine.deps, request).await?.call;

    let mut worker = LocalWorker::start(&engine, Scope::Only(&deployed.version), Some(1), |_| {}).await?;
    // The worker is dropped as soon as the outcome exists: its store is deleted anyway.
    let ended = tokio::select! {
        biased;
        view = waiting::wait_for_call(&session.printer, &engine.deps, &app, call, None) => view.map_err(without_hint),
        error = worker.fail() => Err(error),
    };
    worker.close().await;
    log.finish();
    let view = ended?;
    print_log(&session.printer, &engine.deps, &view).await?;
    waiting::print_response(&session.printer, &engine.deps, &view).await.map_err(without_hint)
}

/// Hints name a call that is deleted with this process, and a log that was just shown.
fn without_hint(error: Error) -> Error {
    Error::new(error.code(), error.message())
}

async fn print_log(printer: &Printer, deps: &Deps, view: &CallView) -> Result<()> {
    let mut log = Vec::new();
    body::log(deps, view, &mut log).await?;
    String::from_utf8_lossy(&log).lines().for_each(|line| printer.note(line));
    Ok(())
}
