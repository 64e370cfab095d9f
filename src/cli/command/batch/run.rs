//! `afn batch run`

use std::sync::Arc;

use tokio::sync::watch;

use super::submit;
use crate::cli::args::BatchRunArgs;
use crate::cli::batch::job::Job;
use crate::cli::batch::live::Live;
use crate::cli::batch::place::{Place, absolute, check};
use crate::cli::batch::receipt::RunReceipt;
use crate::cli::batch::{follow, function, source};
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::signal::{self, Stops};
use crate::error::{Error, Result};
use crate::submit::batch::{BatchRequest, submit};

pub async fn run(session: &Session, args: BatchRunArgs) -> Result<ExitCode> {
    if args.dir.is_none() && args.command.is_empty() && args.image.is_none() {
        return Err(Error::invalid("there is nothing to run").hint(
            "name a function's folder, or a command after `--`, like `afn batch run --input FILE -- wc -w`",
        ));
    }
    let receipt = receipt(&args)?;
    let input = source::input_of(&args)?;
    let records = source::open(session, &input, &args.source).await?;
    if args.dry_run {
        let on_bad_record = args.source.on_bad_record.unwrap_or_default();
        return signal::or_interrupted(submit::dry_run(session, records, on_bad_record)).await;
    }
    let stops = Stops::catch()?;
    let live = Arc::new(Live::new(&session.printer));
    let engine = session.open_with(live.clone()).await?;
    let deployed = function::publish(session, &engine, &args).await?;
    let job = Job {
        session,
        engine: &engine,
        app: deployed.app.clone(),
        version: deployed.version,
        live,
        style: follow::resolve(args.progress, &session.printer),
        run: receipt,
        collected: false,
        begun: engine.seams.clock.monotonic(),
    };
    let request = BatchRequest {
        app: deployed.app,
        route: deployed.function.route,
        source: records,
        options: source::options(&args.source, args.policy),
    };
    let (known, _) = watch::channel(None);
    let on_progress = job.on_progress(&known);
    let submission = async { submit(&engine.seams, request, &on_progress).await.map(Some) };
    job.run(stops, &known, submission).await
}

/// What is to be done with the results, all of it checked.
fn receipt(args: &BatchRunArgs) -> Result<RunReceipt> {
    let place = Place::of(args.output.as_ref())?;
    if let Some(place) = &place {
        place.check(args.force)?;
    }
    let joblog = args.joblog.as_deref().map(absolute).transpose()?;
    let report = args.report.as_deref().map(absolute).transpose()?;
    for path in joblog.iter().chain(&report) {
        check(path, args.force)?;
    }
    Ok(RunReceipt {
        to_stdout: place == Some(Place::Stdout),
        output: place.and_then(Place::into_path),
        include_input: args.shape.include_input,
        flatten: args.shape.flatten,
        force: args.force,
        joblog,
        report,
        concurrency: args.concurrency,
        collected: false,
    })
}
