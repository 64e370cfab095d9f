//! `afn batch resume`, and `afn batch seal`

use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;

use crate::cli::batch::follow::{self, LocalEvents};
use crate::cli::batch::outputs::RunInputs;
use crate::cli::batch::receipt::{Receipt, Receipts};
use crate::cli::batch::{Job, own_batch};
use crate::cli::command::submit::{open_source, reopenable};
use crate::cli::exit::ExitCode;
use crate::cli::find;
use crate::cli::format::plural;
use crate::cli::options::{BatchArgs, SourceFlags, WorkFlags};
use crate::cli::parse::Output;
use crate::cli::session::Session;
use crate::cli::signal::{self, StopSignals};
use crate::error::{Error, Result};
use crate::model::{BatchRef, Region};
use crate::outcomes::deleted_error;
use crate::results::{self, BatchView};
use crate::submit::batch::{End, Submitted};
use crate::submit::resume::{ResumeRequest, Resumed, SubmissionState, resume};
use crate::submit::seal::Submitter;
use crate::submit::source::{Pass, Source};

#[derive(Debug, Clone, Args)]
pub struct BatchResumeArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    /// The same records, at their present location.
    #[arg(long, short, value_name = "SOURCE")]
    pub input: Option<String>,

    /// The region of an s3:// source, if it is not the context's and not what was said before.
    #[arg(long, value_name = "REGION")]
    pub source_region: Option<Region>,

    /// A profile of the AWS files that may read an s3:// source, if it is not the context's and not what was said before.
    #[arg(long, value_name = "NAME")]
    pub source_profile: Option<String>,

    /// For a batch of `batch run`: where the results go, instead of where the run put them.
    #[arg(id = "output", long, short, value_name = "FILE")]
    pub output: Option<Output>,

    #[command(flatten)]
    pub work: WorkFlags,
}

pub async fn run(session: &Session, args: BatchResumeArgs) -> Result<ExitCode> {
    let stops = StopSignals::catch()?;
    let events = Arc::new(LocalEvents::new(&session.printer));
    let engine = session.open_with(events.clone()).await?;
    let batch = find::batch_in(session, &engine, args.of.batch)?;
    let view = results::batch::load(&engine.deps, batch).await?;
    let (source, run) = match Receipts::of(session)?.find(batch)? {
        Some(receipt) => (receipt.source(), receipt.run),
        None => (None, None),
    };
    let connection = SourceFlags {
        source_region: args.source_region.or(source.as_ref().and_then(|source| source.region.clone())),
        source_profile: args.source_profile.or(source.as_ref().and_then(|source| source.profile.clone())),
        ..SourceFlags::default()
    };
    let location = source.as_ref().map(|source| source.location.clone());
    let records = open_records(session, &view, args.input, location, &connection).await?;
    let origin = records.as_deref().map(Source::origin);
    let source = records.as_deref().and_then(|records| reopenable(records, &connection)).or(source);
    let request = ResumeRequest { batch, source: records };
    let Some(mut run) = run else {
        let resumed = signal::or_interrupted(resume(&engine.deps, request, &|_| {})).await?;
        Receipts::remember(session, &engine, &view.app, batch, source, None);
        if let Some(End::Broken(error)) = resumed.submitted.as_ref().map(|submitted| &submitted.end) {
            Receipts::note_ended(session, batch);
            return Err(error.clone());
        }
        session.printer.line(summary(&resumed))?;
        return Ok(ExitCode::Success);
    };
    let destination = args.output.and_then(Output::into_destination);
    if destination.is_some() {
        run.collected = false;
        run.set_destination(destination);
    }
    run.force |= args.work.force;
    run.concurrency = args.work.concurrency.or(run.concurrency);
    if let (Some(destination), false) = (run.destination(), run.collected) {
        destination.check(run.form, run.force)?;
        if let Some(origin) = &origin {
            RunInputs::new(&origin.location, None).check(&run)?;
        }
    }
    let (Some(function), Some(version)) = (&view.function, &view.version) else {
        return Err(deleted(&view));
    };
    let version = engine.catalog.version(&view.app, function, version).await?;
    let job = Job {
        session,
        engine: &engine,
        own: own_batch(&engine, &view.app, function, version, &run).await?,
        events,
        style: follow::resolve(args.work.progress.progress, &session.printer),
        run,
        source,
        begun: engine.deps.clock.monotonic(),
        batch: watch::Sender::new(None),
    };
    job.begin(batch);
    let submission = async {
        let resumed = resume(&engine.deps, request, &|_| {}).await?;
        if !matches!(&resumed.submitted, Some(Submitted { end: End::Broken(_), .. })) {
            session.printer.note(summary(&resumed));
        }
        Ok(resumed.submitted)
    };
    job.run(stops, submission).await
}

/// Opens `--input`, else the source that the receipt names. `None` where the batch goes on without its source.
async fn open_records(
    session: &Session,
    view: &BatchView,
    input: Option<String>,
    source: Option<String>,
    connection: &SourceFlags,
) -> Result<Option<Box<dyn Source>>> {
    let input = match (input, source) {
        (Some(_), _) if view.source.is_none() => {
            return Err(deleted(view));
        }
        (Some(input), _) => input,
        // The source of a batch that is submitted completely may be gone.
        (None, Some(source)) if view.sealed.is_none() => source,
        (None, _) => return Ok(None),
    };
    let Some(begun) = &view.source else { return Ok(None) };
    let pass = Some(begun.pass.parse()?).filter(|pass| *pass != Pass::Record);
    let delimiter = begun.delimiter.as_deref().map(str::parse).transpose()?;
    let format = Some(begun.format.parse()?);
    let flags = SourceFlags { format, pass, delimiter, key: begun.key.clone(), ..connection.clone() };
    let opened = open_source(session, &input, &flags).await;
    opened.map(Some).map_err(|error| error.context(format!("batch {} cannot be resumed", view.batch)))
}

fn deleted(view: &BatchView) -> Error {
    match &view.deleted {
        Some(deleted) => deleted_error(&BatchRef::new(&view.app, view.batch), deleted),
        None => Error::conflict(format!("batch {} has finished and was deleted", view.batch)),
    }
}

fn summary(resumed: &Resumed) -> String {
    let batch = resumed.batch;
    match resumed.found {
        SubmissionState::Finished => return format!("{batch} is over"),
        SubmissionState::Cancelled => return format!("{batch} was cancelled"),
        SubmissionState::Partial | SubmissionState::Sealed => {}
    }
    let again = format!("{} sent again", plural(resumed.sent_again, "chunk"));
    match &resumed.submitted {
        Some(submitted) => {
            format!("{batch} is submitted whole: {}, {again}", plural(submitted.calls, "call"))
        }
        None => format!("{batch} was submitted whole; {again}"),
    }
}

/// Ends a batch whose source ended early.
pub async fn seal(session: &Session, args: BatchArgs) -> Result<()> {
    let (engine, batch) = find::batch(session, args.batch).await?;
    let receipt = Receipts::of(session)?.find(batch)?;
    let submitter = match receipt {
        Some(Receipt { ended: true, .. }) => Submitter::Ended,
        _ => Submitter::Unknown,
    };
    let sealed = crate::submit::seal::seal(&engine.deps, batch, &session.user()?, submitter).await?;
    // A submitter that died may have left chunks without a message.
    resume(&engine.deps, ResumeRequest { batch, source: None }, &|_| {}).await?;
    session.printer.done(format!("{batch} is sealed: {}", plural(sealed.calls(), "call")), &sealed)
}
