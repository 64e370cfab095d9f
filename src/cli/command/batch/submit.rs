//! `afn batch submit`, and `afn submit … --input SOURCE`

use serde_json::json;

use crate::cli::args::{BatchSubmitArgs, FunctionRef};
use crate::cli::batch::receipt::{Receipt, Receipts};
use crate::cli::batch::source;
use crate::cli::call_view::bytes;
use crate::cli::exit::ExitCode;
use crate::cli::find;
use crate::cli::lines::plural;
use crate::cli::session::{Engine, Session};
use crate::error::{Error, Result};
use crate::model::{AppName, BatchId};
use crate::results::cost::{self, Cost};
use crate::submit::batch::{BatchRequest, End, OnBadRecord, submit};
use crate::submit::source::Source;

pub async fn run(session: &Session, args: BatchSubmitArgs) -> Result<()> {
    let records = source::open(session, &args.input, &args.source).await?;
    if args.dry_run {
        let on_bad_record = args.source.on_bad_record.unwrap_or_default();
        return dry_run(session, records, on_bad_record).await.map(|_| ());
    }
    let engine = session.open().await?;
    let route = match &args.function {
        FunctionRef::Route(route) => route.clone(),
        named => find::function(&engine.catalog, &args.app, named).await?.route,
    };
    let request = BatchRequest {
        app: args.app.clone(),
        route,
        source: records,
        options: source::options(&args.source, args.policy),
    };
    let begun = std::sync::OnceLock::new();
    let on_progress = |progress: crate::submit::batch::Progress| {
        begun.get_or_init(|| remember(session, &engine, &args.app, progress.batch));
    };
    let submitted = submit(&engine.seams, request, &on_progress).await?;
    let mut record = json!({ "batch_id": submitted.batch, "calls": submitted.calls });
    if submitted.refused > 0 {
        record["refused"] = submitted.refused.into();
        session.printer.warning(format!(
            "{} cannot be a call and will be recorded as failed",
            plural(submitted.refused, "record")
        ));
    }
    // The one line is JSON for people too, like that of an async call.
    session.printer.line(record)?;
    match submitted.end {
        End::Source => Ok(()),
        End::BadRecord(bad) => Err(Error::invalid(format!("the batch ended before a bad record: {bad}"))
            .hint("the calls before it run; `--on-bad-record record` goes on past bad records")),
        End::Cancelled => {
            Err(Error::new(crate::error::Code::Stopped, "the batch was cancelled while it was submitted"))
        }
    }
}

/// So that `last` is this batch. A batch is as good without.
pub fn remember(session: &Session, engine: &Engine, app: &AppName, batch: BatchId) {
    let context = engine.context.name.as_str().to_owned();
    let receipt = Receipt { v: 1, batch, app: app.clone(), context, run: None };
    if let Err(error) = Receipts::of(session).and_then(|receipts| receipts.keep(&receipt)) {
        session.printer.warning(format!("{error}; `last` does not name this batch"));
    }
}

pub async fn dry_run(
    session: &Session,
    records: Box<dyn Source>,
    on_bad_record: OnBadRecord,
) -> Result<ExitCode> {
    let weight = source::weigh(records, on_bad_record).await?;
    let cost = Cost::of(weight.requests(), weight.calls, None);
    let record = json!({
        "calls": weight.calls,
        "chunks": weight.chunks,
        "bytes": weight.bytes,
        "refused": weight.refused,
        "cost": cost,
    });
    if let Some(bad) = &weight.bad {
        session.printer.warning(bad);
    }
    let mut text = format!(
        "{} in {}, {}\n",
        plural(weight.calls, "call"),
        plural(weight.chunks, "chunk"),
        bytes(weight.bytes),
    );
    if weight.refused > 0 {
        text.push_str(&format!("{} cannot be a call\n", plural(weight.refused, "record")));
    }
    text.push_str(&format!(
        "on AWS at least {} for {}; what is run costs its workers' time\n",
        cost::shown(cost.dollars.total),
        plural(cost.requests_total, "request")
    ));
    text.push_str("nothing was written\n");
    match session.printer.is_json() {
        true => session.printer.json(&record)?,
        false => session.printer.data(text)?,
    }
    Ok(ExitCode::Success)
}
