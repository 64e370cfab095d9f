//! `afn submit`, and `afn batch submit`

use clap::Args;
use serde_json::json;

use super::call::{self, SubmissionArgs};
use crate::cli::batch::receipt::{Receipts, SourceReceipt};
use crate::cli::find;
use crate::cli::format::{bytes, plural};
use crate::cli::options::{ArrayFlags, FunctionArgs, PolicyFlags, SourceFlags};
use crate::cli::session::Session;
use crate::cli::text::Text;
use crate::context::DataBucket;
use crate::error::{Code, Error, Result};
use crate::layout::batch::Chunking;
use crate::limits::ms;
use crate::results::cost::{self, Cost};
use crate::submit::batch::{BatchOptions, BatchRequest, End, OnBadRecord, submit_noted};
use crate::submit::estimate::estimate;
use crate::submit::source::{self, Format, Kind, OpenOptions, Pass, Source};

#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    pub submission: SubmissionArgs,

    /// Submit a batch instead, a call for each record: of a file, a folder, s3://bucket/prefix, or - for stdin.
    #[arg(
        long,
        value_name = "SOURCE",
        conflicts_with_all = ["data", "file", "content_type", "headers", "delay", "idempotency_key"]
    )]
    pub input: Option<String>,

    #[command(flatten, next_help_heading = "Options of batches")]
    pub source: SourceFlags,

    #[command(flatten, next_help_heading = "Options of batches")]
    pub policy: PolicyFlags,
}

#[derive(Debug, Clone, Args)]
pub struct BatchSubmitArgs {
    #[command(flatten)]
    pub function: FunctionArgs,

    /// The records: a file, a folder, s3://bucket/prefix, or - for stdin.
    #[arg(value_name = "SOURCE", required_unless_present = "array")]
    pub input: Option<String>,

    #[command(flatten)]
    pub array: ArrayFlags,

    #[command(flatten)]
    pub source: SourceFlags,

    #[command(flatten)]
    pub policy: PolicyFlags,

    /// Show how many calls and chunks the batch would have and what they would cost on AWS; write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn run(session: &Session, args: SubmitArgs) -> Result<()> {
    if let Some(input) = args.input {
        let SubmitArgs { submission: SubmissionArgs { function, .. }, source, policy, .. } = args;
        let (input, array) = (Some(input), ArrayFlags::default());
        let batch = BatchSubmitArgs { function, input, array, source, policy, dry_run: false };
        return self::batch(session, batch).await;
    }
    let engine = session.open().await?;
    let accepted = call::submit(&session.printer, &engine, args.submission).await?;
    let record = json!({ "call_id": accepted.call, "repeated": accepted.repeated });
    session.printer.answer(&record, &Text::from_iter([accepted.call]))
}

pub async fn batch(session: &Session, args: BatchSubmitArgs) -> Result<()> {
    let records = match (&args.array.array, &args.input) {
        (Some(range), _) => source::array(range.clone()),
        (None, Some(input)) => open_source(session, input, &args.source).await?,
        (None, None) => return Err(Error::invalid("the batch has no source")),
    };
    if args.dry_run {
        return dry_run(session, records, args.source.on_bad_record.unwrap_or_default()).await;
    }
    let engine = session.open().await?;
    let app = &args.function.app;
    let source = reopenable(&*records, &args.source);
    let request = BatchRequest {
        app: app.clone(),
        route: find::route(&engine.catalog, &args.function).await?,
        source: records,
        options: BatchOptions { index_env: args.array.index_env, ..batch_options(&args.source, args.policy) },
    };
    let note = |batch| Receipts::remember(session, &engine, app, batch, source.clone(), None);
    let submitted = submit_noted(&engine.deps, request, &note, &|_| {}).await?;
    if let End::Broken(error) = submitted.end {
        Receipts::note_ended(session, submitted.batch);
        return Err(error);
    }
    let mut record = json!({ "batch_id": submitted.batch, "calls": submitted.calls });
    if submitted.refused > 0 {
        record["refused"] = submitted.refused.into();
        session.printer.warning(format!(
            "{} cannot be a call and will be recorded as failed",
            plural(submitted.refused, "record")
        ));
    }
    // People get a line of JSON too, as for an async call.
    session.printer.line(record)?;
    match submitted.end {
        End::Source | End::Broken(_) => Ok(()),
        End::BadRecord(bad) => Err(Error::invalid(format!("the batch ended before a bad record: {bad}"))
            .with_hint("the calls before it run; `--on-bad-record record` continues past bad records")),
        End::Cancelled => Err(Error::new(Code::Stopped, "the batch was cancelled while it was submitted")),
    }
}

/// Prints what a batch would cost.
pub async fn dry_run(session: &Session, records: Box<dyn Source>, on_bad_record: OnBadRecord) -> Result<()> {
    let location = records.origin().location;
    let estimate = estimate(records, on_bad_record).await?;
    if let Some(notice) = &estimate.notice {
        session.printer.warning(format!("`{location}` {notice}"));
    }
    let cost = Cost::of(estimate.requests(), estimate.calls, None);
    if let Some(bad) = &estimate.bad {
        session.printer.warning(bad);
    }
    let bytes_all = estimate.bytes + estimate.object_bytes;
    let (calls, chunks) = (plural(estimate.calls, "call"), plural(estimate.chunks, "chunk"));
    let (dollars, requests) = (cost::shown(cost.dollars.total), plural(cost.requests_total, "request"));
    let mut text = Text::from_iter([format!("{calls} in {chunks}, {}", bytes(bytes_all))]);
    if estimate.refused > 0 {
        text.line(format!("{} cannot be a call", plural(estimate.refused, "record")));
    }
    text.line(format!("on AWS at least {dollars} for {requests}; the workers' time costs extra"));
    text.line("nothing was written");
    let record = json!({
        "calls": estimate.calls,
        "chunks": estimate.chunks,
        "bytes": bytes_all,
        "refused": estimate.refused,
        "cost": cost,
    });
    session.printer.answer(&record, &text)
}

/// Opens what `--input` names. The bucket of an `s3://` source need not be the context's own.
pub async fn open_source(session: &Session, input: &str, flags: &SourceFlags) -> Result<Box<dyn Source>> {
    let SourceFlags { format, pass, delimiter, source_region: region, source_profile: profile, .. } =
        flags.clone();
    let bucket = match source::bucket_of(input)? {
        Some(name) => {
            let region = region.clone();
            Some(session.open_bucket(&DataBucket { name, region, profile }).await?)
        }
        None if region.is_some() || profile.is_some() => {
            return Err(Error::invalid(format!("`{input}` is no object and no prefix of S3"))
                .with_hint("`--source-region` and `--source-profile` are for s3:// sources"));
        }
        None => None,
    };
    let options = OpenOptions { format, pass, delimiter, region };
    let mut source = source::open(input, options, bucket).await?;
    if let Some(field) = &flags.key {
        source = source::keyed(source, field, input)?;
    }
    let origin = source.origin();
    let is_path = origin.pass == Pass::Ref && origin.format == Format::plain(Kind::Files).to_string();
    if is_path && session.context()?.kind.is_remote() {
        return Err(Error::invalid(format!("workers elsewhere cannot read a path below `{input}`")).with_hint(
            "put the files into a bucket and name that as the source; paths are passed in a `local` context",
        ));
    }
    Ok(source)
}

/// By what a resume on this machine opens a source again; `None` for standard input.
pub fn reopenable(source: &dyn Source, flags: &SourceFlags) -> Option<SourceReceipt> {
    let (region, profile) = (flags.source_region.clone(), flags.source_profile.clone());
    let location = Some(source.origin().location).filter(|location| location != source::STDIN);
    location.map(|location| SourceReceipt { location, region, profile })
}

pub fn batch_options(flags: &SourceFlags, policy: PolicyFlags) -> BatchOptions {
    BatchOptions {
        on_bad_record: flags.on_bad_record.unwrap_or_default(),
        fail_if_empty: flags.fail_if_empty,
        then: policy.then,
        on_complete: policy.on_complete,
        max_failures: policy.max_failures,
        attempts_max: policy.retries.map(|retries| retries + 1),
        retry_backoff_ms: policy.retry_backoff.map(ms),
        limits: policy.limits.into(),
        index_env: None,
        retention: policy.retention,
        chunking: Chunking::default(),
    }
}
