//! `afn batch resume`

use std::sync::Arc;

use tokio::sync::watch;

use super::submit::remember;
use crate::cli::args::{BatchResumeArgs, SourceFlags};
use crate::cli::batch::job::Job;
use crate::cli::batch::live::Live;
use crate::cli::batch::place::Place;
use crate::cli::batch::receipt::Receipts;
use crate::cli::batch::{follow, source, which};
use crate::cli::exit::ExitCode;
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::cli::signal::{self, Stops};
use crate::error::{Error, Result};
use crate::results;
use crate::submit::resume::{Found, ResumeRequest, Resumed, resume};

pub async fn run(session: &Session, args: BatchResumeArgs) -> Result<ExitCode> {
    let stops = Stops::catch()?;
    let live = Arc::new(Live::new(&session.printer));
    let engine = session.open_with(live.clone()).await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    let view = results::batch::load(&engine.seams, batch).await?;
    let records = match (&args.input, &view.source) {
        (None, _) => None,
        (Some(input), Some(begun)) => {
            let flags = SourceFlags { format: Some(begun.format.parse()?), ..SourceFlags::default() };
            Some(source::open(session, input, &flags).await?)
        }
        (Some(_), None) => {
            return Err(Error::conflict(format!("batch {batch} has finished and was deleted")));
        }
    };
    let bucket = match (&records, &view.source) {
        (None, Some(begun)) => source::bucket(session, &begun.location).await?,
        _ => None,
    };
    let request = ResumeRequest { batch, source: records, bucket };
    let known = Receipts::of(session)?.find(batch)?;
    let run = known.and_then(|receipt| receipt.run);
    let Some(mut run) = run else {
        let resumed = signal::or_interrupted(resume(&engine.seams, request, &|_| {})).await?;
        remember(session, &engine, &view.app, batch);
        session.printer.line(told(&resumed))?;
        return Ok(ExitCode::Success);
    };
    if let Some(place) = Place::of(args.output.as_ref())? {
        run.collected = false;
        run.to_stdout = place == Place::Stdout;
        run.output = place.into_path();
    }
    run.force |= args.force;
    run.concurrency = args.concurrency.or(run.concurrency);
    if let (Some(path), false) = (&run.output, run.collected) {
        Place::File(path.clone()).check(run.force)?;
    }
    let (Some(function), Some(version)) = (&view.function, &view.version) else {
        return Err(Error::conflict(format!("batch {batch} has finished and was deleted")));
    };
    let job = Job {
        session,
        engine: &engine,
        app: view.app.clone(),
        version: engine.catalog.version(&view.app, function, version).await?,
        live,
        style: follow::resolve(args.progress, &session.printer),
        collected: run.collected,
        run,
        begun: engine.seams.clock.monotonic(),
    };
    let (known, _) = watch::channel(None);
    job.begin(batch, &known);
    let submission = async {
        let resumed = resume(&engine.seams, request, &|_| {}).await?;
        session.printer.note(told(&resumed));
        Ok(resumed.submitted)
    };
    job.run(stops, &known, submission).await
}

fn told(resumed: &Resumed) -> String {
    let batch = resumed.batch;
    match resumed.found {
        Found::Over => return format!("{batch} is over"),
        Found::Cancelled => return format!("{batch} was cancelled"),
        Found::InPart | Found::Sealed => {}
    }
    let again = format!("{} sent again", plural(resumed.sent_again, "chunk"));
    match &resumed.submitted {
        Some(submitted) => {
            format!("{batch} is submitted whole: {}, {again}", plural(submitted.calls, "call"))
        }
        None => format!("{batch} was submitted whole; {again}"),
    }
}
