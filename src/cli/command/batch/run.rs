//! `afn batch run`: a folder or a command line, as a function that runs once for each record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use crate::cli::batch::follow::{self, LocalEvents};
use crate::cli::batch::outputs::RunInputs;
use crate::cli::batch::receipt::RunReceipt;
use crate::cli::batch::{Job, own_batch};
use crate::cli::command::deploy::deploy_folder;
use crate::cli::command::submit::{batch_options, dry_run, open_source, reopenable};
use crate::cli::exit::ExitCode;
use crate::cli::options::{ArrayFlags, PolicyFlags, ShapeFlags, SourceFlags, WorkFlags};
use crate::cli::parse::{self, Output, Pair, absolute};
use crate::cli::session::Session;
use crate::cli::signal::{self, StopSignals};
use crate::deploy::command::{self, CommandRequest, is_command};
use crate::deploy::{AppFile, Deployed, FuncFile};
use crate::embedded::Engine;
use crate::error::{Error, Result};
use crate::limits::ms;
use crate::model::AppName;
use crate::results::export::{RowForm, file};
use crate::submit::batch::{BatchOptions, BatchRequest, submit_noted};
use crate::submit::source;

#[derive(Debug, Clone, Args)]
pub struct BatchRunArgs {
    /// The function's folder.
    #[arg(value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,

    /// A command to run for each record instead, in this folder: the payload on stdin, the result on stdout. The call
    /// succeeds when the command exits with 0.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,

    /// The records: a file, a folder, s3://bucket/prefix, or - for stdin. By default batch.input of DIR's func.yaml.
    #[arg(long, short, value_name = "SOURCE")]
    pub input: Option<String>,

    /// Where the results go: a .jsonl, .csv or .parquet file, a folder that ends in a slash, or - for stdout. Without it
    /// they stay in the store, and `afn batch results` reads them.
    #[arg(id = "output", long, short, value_name = "FILE")]
    pub output: Option<Output>,

    #[command(flatten)]
    pub work: WorkFlags,

    #[command(flatten)]
    pub array: ArrayFlags,

    #[command(flatten)]
    pub source: SourceFlags,

    #[command(flatten)]
    pub policy: PolicyFlags,

    #[command(flatten)]
    pub shape: ShapeFlags,

    /// Write a log of the calls in GNU parallel's columns.
    #[arg(long, value_name = "FILE")]
    pub joblog: Option<PathBuf>,

    /// Write the HTML report too.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Show how many calls and chunks the batch would have and what they would cost on AWS; write nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// The app to work in; by default the one that app.yaml names, else `batch`.
    #[arg(long)]
    pub app: Option<AppName>,

    /// Run the command in containers of this image, instead of as child processes.
    #[arg(long, conflicts_with_all = ["dir", "build"])]
    pub image: Option<String>,

    /// Build the folder's image and run it in containers, instead of as child processes.
    #[arg(long, requires = "dir")]
    pub build: bool,

    /// How long the command may run for one record; 1h by default.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, conflicts_with = "dir")]
    pub timeout: Option<Duration>,

    /// Memory of a container of --image in MiB; 128 by default.
    #[arg(long, short, value_name = "MIB", conflicts_with = "dir")]
    pub memory: Option<u64>,

    /// An environment variable for the function or the command; it gets PATH and no other variable of yours. Repeatable.
    /// KEY=@FILE reads a file, KEY=- reads stdin, KEY alone takes yours.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse::config)]
    pub config: Vec<Pair>,
}

pub async fn run(session: &Session, args: BatchRunArgs) -> Result<ExitCode> {
    if args.dir.is_none() && args.command.is_empty() && args.image.is_none() {
        return Err(Error::invalid("there is nothing to run").with_hint(
            "name a function's folder, or a command after `--`, like `afn batch run --input FILE -- wc -w`",
        ));
    }
    let mut run = run_receipt(&args)?;
    let records = match &args.array.array {
        Some(range) => source::array(range.clone()),
        None => open_source(session, &input_of(&args)?, &args.source).await?,
    };
    if run.form == RowForm::OpenAi && !records.origin().has_keys() {
        return Err(Error::invalid("`--as openai` needs records with keys: they become `custom_id`")
            .with_hint("read them with `--format openai`, or with `--key FIELD`"));
    }
    RunInputs::new(&records.origin().location, Some(args.dir.as_deref().unwrap_or(Path::new("."))))
        .check(&run)?;
    if args.dry_run {
        let printed = dry_run(session, records, args.source.on_bad_record.unwrap_or_default());
        return signal::or_interrupted(printed).await.map(|()| ExitCode::Success);
    }
    let stops = StopSignals::catch()?;
    let events = Arc::new(LocalEvents::new(&session.printer));
    let engine = session.open_with(events.clone()).await?;
    let Deployed { app, function, version } = publish(session, &engine, &args).await?;
    let is_set = |pair: &&Pair| !pair.1.is_empty();
    run.config = is_command(&version).then(|| args.config.iter().filter(is_set).cloned().collect());
    run.version = is_command(&version).then(|| version.id.clone());
    let job = Job {
        session,
        engine: &engine,
        own: own_batch(&engine, &app, &function.name, version, &run).await?,
        events,
        style: follow::resolve(args.work.progress.progress, &session.printer),
        run,
        source: reopenable(&*records, &args.source),
        begun: engine.deps.clock.monotonic(),
        batch: watch::Sender::new(None),
    };
    let request = BatchRequest {
        app,
        route: function.route,
        source: records,
        options: BatchOptions { index_env: args.array.index_env, ..batch_options(&args.source, args.policy) },
    };
    let note = |batch| job.remember(batch, false);
    let on_progress = |progress| job.on_progress(progress);
    let submission = async { submit_noted(&engine.deps, request, &note, &on_progress).await.map(Some) };
    job.run(stops, submission).await
}

/// `--input`, else `batch.input` of func.yaml, relative to the function's folder.
fn input_of(args: &BatchRunArgs) -> Result<String> {
    if let Some(input) = &args.input {
        return Ok(input.clone());
    }
    let Some(dir) = &args.dir else {
        return Err(Error::invalid("there is nothing to run the command on")
            .with_hint(
                "`--input FILE` names the records, `--input -` reads them from stdin, `--array 0-99` runs it a hundred times",
            ));
    };
    let file = FuncFile::load(dir)?;
    match file.batch_input {
        Some(input) if input.starts_with("s3://") => Ok(input),
        Some(input) => {
            Ok(file.path.parent().unwrap_or(Path::new(".")).join(input).to_string_lossy().into_owned())
        }
        None => Err(Error::invalid(format!("{} names no records", file.path.display()))
            .with_hint("`--input FILE` does, or `batch: {input: FILE}` in it")),
    }
}

/// What `batch run` does with the results. Fails where a file exists that must not be replaced.
fn run_receipt(args: &BatchRunArgs) -> Result<RunReceipt> {
    let destination = args.output.clone().and_then(Output::into_destination);
    if let Some(destination) = &destination {
        destination.check(args.shape.form, args.work.force)?;
    }
    let joblog = args.joblog.as_deref().map(absolute).transpose()?;
    let report = args.report.as_deref().map(absolute).transpose()?;
    for path in joblog.iter().chain(&report) {
        file::check(path, args.work.force)?;
    }
    let mut run = RunReceipt {
        include_input: args.shape.include_input,
        flatten: args.shape.flatten,
        csv: args.shape.csv,
        form: args.shape.form,
        force: args.work.force,
        joblog,
        report,
        concurrency: args.work.concurrency,
        ..RunReceipt::default()
    };
    run.set_destination(destination);
    Ok(run)
}

/// The app of functions that name none.
const APP: &str = "batch";

/// Deploys the folder or the command.
async fn publish(session: &Session, engine: &Engine, args: &BatchRunArgs) -> Result<Deployed> {
    let config = args.config.iter().cloned().collect();
    match &args.dir {
        Some(dir) => deploy_folder(session, engine, dir, app_of(args, dir)?, args.build, config).await,
        None => {
            let request = CommandRequest {
                app: args.app.clone().map_or_else(|| APP.parse(), Ok)?,
                command: &args.command,
                image: args.image.as_deref(),
                timeout_ms: args.timeout.map(ms),
                memory_mib: args.memory,
                config,
                now: engine.deps.now(),
            };
            command::deploy(&engine.catalog, request).await
        }
    }
}

/// `--app`, else the app that app.yaml names, else `batch`.
fn app_of(args: &BatchRunArgs, dir: &Path) -> Result<AppName> {
    if let Some(app) = &args.app {
        return Ok(app.clone());
    }
    for dir in [dir, &dir.join("..")] {
        if let Some(AppFile { name: Some(name), .. }) = AppFile::load(dir)? {
            return Ok(name);
        }
    }
    APP.parse()
}
