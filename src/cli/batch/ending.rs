//! The end of a batch that this process ran: writes results, joblog and report, and prints a summary.

use std::path::Path;

use serde_json::{Value, json};

use super::Job;
use super::progress::counted;
use super::receipt::RunReceipt;
use crate::cli::exit::ExitCode;
use crate::cli::format::{millis, plural, short_path};
use crate::cli::options::ProgressStyle;
use crate::cli::parse::Destination;
use crate::cli::printer::Printer;
use crate::cli::text::Text;
use crate::deploy::command::words;
use crate::error::{Error, Result};
use crate::model::{BatchId, State};
use crate::results::batch::{BatchStatus, BatchView};
use crate::results::cost::{self, Cost};
use crate::results::export::{self, CsvText, Exported, Format, RowForm, file, joblog};
use crate::results::reasons::{self, FAILED, Group};
use crate::results::report;
use crate::results::rows::{self, Finished, Rows};
use crate::seam::Deps;
use crate::submit::retry::can_retry;
use crate::submit::source::BadRecord;

/// Reasons that are shown; `batch results` shows every failure.
const REASONS_SHOWN: usize = 5;

/// Writes results, joblog and report of a batch whose calls are all decided, as far as they can be read. Returns an error for
/// each output that is incomplete; it names the objects that cannot be read.
pub async fn collect(job: &Job<'_>, view: &BatchView) -> Result<Vec<Error>> {
    let (deps, run) = (&job.engine.deps, &job.run);
    let mut incomplete = Vec::new();
    if let Some(destination) = run.destination() {
        let batch = run.latest_of.unwrap_or(view.batch);
        let options = rows::Options {
            input: run.include_input,
            names: true,
            latest: run.latest_of.is_some(),
            finished: Finished::Is,
            ..rows::Options::default()
        };
        let export = export::Options { flatten: run.flatten, force: run.force, csv: run.csv, form: run.form };
        let exported = export_rows(&job.session.printer, deps, batch, &destination, options, export).await;
        let how = format!("`afn batch results {batch}{} -o FILE` fetches them", shape_flags(run));
        incomplete.extend(exported.map_err(|error| unwritten(view, "results are", how, error))?.incomplete);
    }
    if let Some(path) = &run.joblog {
        let command = words(&job.own.version).join(" ");
        let missing = joblog::write(deps, view.batch, &command, path, run.force).await;
        let how = format!("`afn batch resume {} --force` writes all files of the run again", view.batch);
        let missing = missing.map_err(|error| unwritten(view, "joblog is", how, error))?;
        incomplete.extend(missing.map(|error| error.context("the joblog is incomplete")));
    }
    if let Some(path) = &run.report {
        let missing = write_report(job, view, path).await;
        let how = format!("`afn batch report {} -o FILE` writes it", view.batch);
        let missing = missing.map_err(|error| unwritten(view, "report is", how, error))?;
        incomplete.extend(missing.map(|error| error.context("the report is incomplete")));
    }
    Ok(incomplete)
}

/// Says that the batch itself is done, and how to get what could not be written.
fn unwritten(view: &BatchView, what: &str, how: String, error: Error) -> Error {
    error.context(format!("batch {} is over, but its {what} not written", view.batch)).with_hint(how)
}

/// The options of `batch results` that give the rows of this run.
fn shape_flags(run: &RunReceipt) -> String {
    let mut flags = String::new();
    for (flag, is_set) in [
        (" --include-input", run.include_input),
        (" --flatten", run.flatten),
        (" --latest", run.latest_of.is_some()),
        (" --csv raw", run.csv == CsvText::Raw),
        (" --as openai", run.form == RowForm::OpenAi),
    ] {
        flags.push_str(if is_set { flag } else { "" });
    }
    flags
}

/// Writes rows to stdout as JSON Lines, or to a file in the format of its suffix.
pub async fn export_rows(
    printer: &Printer,
    deps: &Deps,
    batch: BatchId,
    destination: &Destination,
    mut options: rows::Options,
    export: export::Options,
) -> Result<Exported> {
    let format = match destination {
        Destination::Stdout => Format::JsonLines,
        Destination::File(path) => Format::of(path)?,
    };
    // The files of a folder get the names of the records.
    options.input |= format == Format::Folder;
    let rows = Rows::open(deps, batch, options).await?;
    match destination {
        Destination::Stdout => export::to_writer(deps, rows, &mut printer.clone(), format, export).await,
        Destination::File(path) => export::to_path(deps, rows, path, format, export).await,
    }
}

/// Writes the HTML report. Returns the error that names the objects which cannot be read.
async fn write_report(job: &Job<'_>, view: &BatchView, path: &Path) -> Result<Option<Error>> {
    let gathered = report::gather(&job.engine.deps, view).await?;
    let mut output = file::Output::create(path, job.run.force)?;
    report::write(view, &gathered, Some(spent(job, view)), output.writer())?;
    output.commit()?;
    Ok(gathered.incomplete)
}

/// `bad`: the record before which the batch was ended.
pub async fn print_summary(job: &Job<'_>, view: &BatchView, bad: Option<&BadRecord>) -> Result<ExitCode> {
    let deps = &job.engine.deps;
    let (failures, tried) = reasons::of_failures(deps, view).await?;
    // A retry refuses the same records again: it makes sense only if other calls failed too.
    let was_cancelled = view.counts.get(&State::Cancelled).is_some_and(|count| *count > 0);
    let can_retry = was_cancelled || (!failures.is_empty() && (tried || can_retry(deps, view.batch).await?));
    let code = bad.map_or(ExitCode::of_batch(view.status), |_| ExitCode::Usage);
    let end = BatchEnd { job, view, bad, failures, can_retry, cost: spent(job, view), code };
    let printer = &job.session.printer;
    if job.style == ProgressStyle::Json {
        printer.line(end.event())?;
        return Ok(code);
    }
    let summary = end.summary();
    match job.run.to_stdout {
        true => summary.as_str().lines().for_each(|line| printer.note(line)),
        false if printer.is_quiet => {}
        false => printer.text(&summary)?,
    }
    if bad.is_some() {
        printer.hint(
            "correct the record and run the batch again; `--on-bad-record record` records bad ones as failed and continues",
        );
    }
    Ok(code)
}

/// For each operation, the requests that workers recorded with the batch's parts, or those of this process, whichever are
/// more: the records come late, and this process does not know of other workers.
fn spent(job: &Job<'_>, view: &BatchView) -> Cost {
    let mut requests = view.requests.clone();
    for (operation, here) in cost::together(&Default::default(), &job.engine.counts.snapshot()) {
        let recorded = requests.entry(operation).or_default();
        *recorded = (*recorded).max(here);
    }
    Cost::of(requests, view.decided, Some(job.elapsed_ms()))
}

struct BatchEnd<'a> {
    job: &'a Job<'a>,
    view: &'a BatchView,
    bad: Option<&'a BadRecord>,
    failures: Vec<Group>,
    can_retry: bool,
    cost: Cost,
    code: ExitCode,
}

impl BatchEnd<'_> {
    /// Keep its keys stable.
    fn event(&self) -> Value {
        let (view, run) = (self.view, &self.job.run);
        json!({
            "event": "finished",
            "batch_id": view.batch,
            "status": view.status,
            "reason": view.reason,
            "calls": view.calls,
            "counts": view.counts,
            "failures": self.failures,
            "seconds": self.job.elapsed_ms() as f64 / 1000.0,
            "cost": self.cost,
            "output": run.output,
            "errors": run.errors(),
            "joblog": run.joblog,
            "report": run.report,
            "bad_record": self.bad.map(ToString::to_string),
            "exit_code": self.code.number(),
        })
    }

    fn summary(&self) -> Text {
        let (view, run) = (self.view, &self.job.run);
        let batch = view.batch;
        let mut text = Text::default();
        let calls = plural(view.decided, "call");
        let elapsed = millis(self.job.elapsed_ms());
        let counts = counted(&view.counts).join(", ");
        let colon = if counts.is_empty() { "" } else { ": " };
        text.line(format!("{calls} in {elapsed}{colon}{counts}"));
        for group in self.failures.iter().take(REASONS_SHOWN) {
            text.line(format!("  {:>6}  {}", group.calls, group.reason));
        }
        let rest = self.failures.get(REASONS_SHOWN..).unwrap_or_default();
        if !rest.is_empty() {
            let calls: u64 = rest.iter().map(|group| group.calls).sum();
            text.line(format!("  {calls:>6}  for {}", plural(rest.len() as u64, "other reason")));
        }
        let mut next = |what: &str, how: String| text.line(format!("{:<11}{how}", format!("{what}:")));
        if !self.failures.is_empty() {
            let states = FAILED.iter().filter(|state| view.counts.get(state).is_some_and(|count| *count > 0));
            let flags: String = states.map(|state| format!(" --status {state}")).collect();
            next("failures", format!("afn batch results {batch}{flags}"));
            match self.can_retry {
                true => next("try again", format!("afn batch retry {batch}")),
                false => next("correct", "the records: a retry would refuse them again".to_owned()),
            }
        } else if self.can_retry {
            next("run it", format!("afn batch retry {batch}"));
        }
        match &run.output {
            Some(path) => next("results", short_path(path)),
            None if run.to_stdout => {}
            None => next("results", format!("afn batch results {batch} -o FILE")),
        }
        if let Some(path) = &run.errors() {
            next("errors", short_path(path));
        }
        if let Some(path) = &run.joblog {
            next("joblog", short_path(path));
        }
        match &run.report {
            Some(path) => next("report", short_path(path)),
            None => next("report", format!("afn batch report {batch}")),
        }
        next("on AWS", self.cost.to_string());
        text.line(self.verdict());
        text
    }

    fn verdict(&self) -> String {
        let (view, failed) = (self.view, self.view.failed());
        let text = match (self.bad, view.status) {
            (Some(bad), _) => {
                let ran = plural(view.decided, "call");
                format!("stopped before record {}, {ran} submitted: {bad}", view.decided + 1)
            }
            (None, BatchStatus::Success) => return "finished".to_owned(),
            (None, BatchStatus::Cancelled) => view.reason.clone().unwrap_or_else(|| "cancelled".to_owned()),
            (None, _) => format!("finished, {} failed", plural(failed, "call")),
        };
        format!("{text} (exit {})", self.code.number())
    }
}
