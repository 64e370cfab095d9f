//! The end of a batch: where its results go, and the last words.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::job::Job;
use super::joblog;
use super::place::shown;
use crate::cli::args::ProgressStyle;
use crate::cli::call_view::millis;
use crate::cli::exit::ExitCode;
use crate::cli::lines::plural;
use crate::cli::printer::Printer;
use crate::error::Result;
use crate::model::State;
use crate::results::batch::{BatchStatus, BatchView};
use crate::results::cost::{self, Cost};
use crate::results::export::{self, Exported, Format, file};
use crate::results::reasons::{Group, Reasons};
use crate::results::report;
use crate::results::rows::{self, Finished, Rows};
use crate::seam::Seams;
use crate::submit::retry::can_retry;
use crate::submit::source::Bad;

/// Reasons that are shown; `batch results` shows every failure.
const REASONS_SHOWN: usize = 5;

/// How a command ends that waited for a batch and saw it reach this.
pub fn exit_code(status: BatchStatus) -> ExitCode {
    match status {
        BatchStatus::Success => ExitCode::Success,
        BatchStatus::Failed => ExitCode::CallFailed,
        BatchStatus::Cancelled => ExitCode::Stopped,
        // Not an end; whoever waits sees these only when it gave up.
        BatchStatus::Submitting | BatchStatus::Queued | BatchStatus::Running | BatchStatus::Cancelling => {
            ExitCode::WaitTimedOut
        }
    }
}

/// Writes results and joblog of a batch of which everything is decided.
pub async fn collect(job: &Job<'_>, view: &BatchView) -> Result<()> {
    let seams = &job.engine.seams;
    let run = &job.run;
    if run.output.is_some() || run.to_stdout {
        let format = run.output.as_deref().map_or(Ok(Format::JsonLines), Format::of)?;
        let options = rows::Options {
            input: run.include_input || needs_input(format),
            names: true,
            finished: Finished::Is,
            ..rows::Options::default()
        };
        let rows = Rows::open(seams, view.batch, options).await?;
        match &run.output {
            Some(path) => {
                let options = export::Options { flatten: run.flatten, force: run.force };
                export::to_path(seams, rows, path, format, options, |_| {}).await?;
            }
            None => {
                to_stdout(&job.session.printer, seams, rows, run.flatten).await?;
            }
        }
    }
    if let Some(path) = &run.joblog {
        joblog::write(seams, view.batch, &job.version, path, run.force).await?;
    }
    Ok(())
}

/// Writes the HTML page of a batch.
pub async fn report(job: &Job<'_>, view: &BatchView) -> Result<()> {
    let Some(path) = &job.run.report else { return Ok(()) };
    let gathered = report::gather(&job.engine.seams, view).await?;
    let mut output = file::Output::create(path, job.run.force)?;
    report::write(view, &gathered, Some(spent(job, view)), output.writer())?;
    output.commit()
}

/// A folder's files are named as what was sent was.
pub fn needs_input(format: Format) -> bool {
    format == Format::Folder
}

/// As JSON Lines; a reader that has gone, as `head` does, is no failure.
pub async fn to_stdout(printer: &Printer, seams: &Seams, rows: Rows, flatten: bool) -> Result<Exported> {
    let mut stdout = printer.writer();
    export::to_writer(seams, rows, &mut stdout, Format::JsonLines, flatten, |_| {}).await
}

/// The last words. `bad`: the record that the batch was ended before.
pub async fn tell(job: &Job<'_>, view: &BatchView, bad: Option<&Bad>) -> Result<ExitCode> {
    let seams = &job.engine.seams;
    let (failures, tried) = failures(seams, view).await?;
    // Usually known from the rows; else what was refused is told from what could not be started.
    let can_retry = !failures.is_empty() && (tried || can_retry(seams, view.batch).await?);
    let code = bad.map_or(exit_code(view.status), |_| ExitCode::Usage);
    let end = End { job, view, bad, failures, can_retry, cost: spent(job, view), code };
    let printer = &job.session.printer;
    if job.style == ProgressStyle::Json {
        printer.line(end.event())?;
        return Ok(code);
    }
    let words = end.words();
    match job.run.to_stdout {
        true => words.lines().for_each(|line| printer.note(line)),
        false if printer.is_quiet() => {}
        false => printer.data(words)?,
    }
    if bad.is_some() {
        printer.hint(
            "mend the record and run the batch anew; `--on-bad-record record` records bad ones as failed and goes on",
        );
    }
    Ok(code)
}

/// Why calls failed, the most frequent reason first; and whether any of them was tried at all.
async fn failures(seams: &Seams, view: &BatchView) -> Result<(Vec<Group>, bool)> {
    if view.failed() == 0 {
        return Ok((Vec::new(), false));
    }
    let options =
        rows::Options { statuses: FAILED.to_vec(), finished: Finished::Is, ..rows::Options::default() };
    let mut rows = Rows::open(seams, view.batch, options).await?;
    let (mut reasons, mut tried) = (Reasons::default(), false);
    while let Some(block) = rows.next().await? {
        for row in &block {
            reasons.take_in(row);
            tried |= row.outcome.as_ref().is_some_and(|outcome| outcome.attempts > 0);
        }
    }
    Ok((reasons.groups(), tried))
}

const FAILED: [State; 3] = [State::Error, State::Timeout, State::Killed];

/// What the parts of the batch tell that workers spent, or what this process knows that it did, whatever is more: the one
/// is told with a part, the other does not know of workers elsewhere or before.
fn spent(job: &Job<'_>, view: &BatchView) -> Cost {
    let mut requests = view.requests.clone();
    for (operation, here) in cost::together(&Default::default(), &job.engine.counts().snapshot()) {
        let told = requests.entry(operation).or_default();
        *told = (*told).max(here);
    }
    Cost::of(requests, view.decided, Some(job.took()))
}

struct End<'a> {
    job: &'a Job<'a>,
    view: &'a BatchView,
    bad: Option<&'a Bad>,
    failures: Vec<Group>,
    can_retry: bool,
    cost: Cost,
    code: ExitCode,
}

impl End<'_> {
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
            "seconds": self.job.took() as f64 / 1000.0,
            "cost": self.cost,
            "output": run.output,
            "joblog": run.joblog,
            "report": run.report,
            "bad_record": self.bad.map(ToString::to_string),
            "exit_code": self.code.number(),
        })
    }

    fn words(&self) -> String {
        let (view, run) = (self.view, &self.job.run);
        let batch = view.batch;
        let mut text = String::new();
        let counted = State::ALL.iter().filter_map(|state| Some((state, *view.counts.get(state)?)));
        let counts: Vec<String> = counted
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        let calls = plural(view.decided, "call");
        let _ = writeln!(text, "{calls} in {}: {}", millis(self.job.took()), counts.join(", "));
        for group in self.failures.iter().take(REASONS_SHOWN) {
            let _ = writeln!(text, "  {:>6}  {}", group.calls, printable(&group.reason));
        }
        let rest = self.failures.get(REASONS_SHOWN..).unwrap_or_default();
        if !rest.is_empty() {
            let calls: u64 = rest.iter().map(|group| group.calls).sum();
            let _ = writeln!(text, "  {calls:>6}  for {}", plural(rest.len() as u64, "other reason"));
        }
        let mut pointer = |what: &str, to: String| {
            let _ = writeln!(text, "{:<11}{to}", format!("{what}:"));
        };
        if !self.failures.is_empty() {
            let there = FAILED.iter().filter(|state| view.counts.get(state).is_some_and(|count| *count > 0));
            let flags: String = there.map(|state| format!(" --status {state}")).collect();
            pointer("failures", format!("afn batch results {batch}{flags}"));
            match self.can_retry {
                true => pointer("try again", format!("afn batch retry {batch}")),
                false => pointer("to mend", "the records: a retry would refuse them again".to_owned()),
            }
        }
        match &run.output {
            Some(path) => pointer("results", shown(path)),
            None if run.to_stdout => {}
            None => pointer("results", format!("afn batch results {batch} -o FILE")),
        }
        if let Some(path) = &run.joblog {
            pointer("joblog", shown(path));
        }
        match &run.report {
            Some(path) => pointer("report", shown(path)),
            None => pointer("report", format!("afn batch report {batch}")),
        }
        pointer("on AWS", told(&self.cost));
        let _ = writeln!(text, "{}", printable(&self.how()));
        text
    }

    fn how(&self) -> String {
        let (view, failed) = (self.view, self.view.failed());
        let how = match (self.bad, view.status) {
            (Some(bad), _) => {
                let ran = plural(view.decided, "call");
                format!("stopped before record {}, {ran} submitted: {bad}", view.decided + 1)
            }
            (None, BatchStatus::Success) => return "finished".to_owned(),
            (None, BatchStatus::Cancelled) => view.reason.clone().unwrap_or_else(|| "cancelled".to_owned()),
            (None, _) => format!("finished, {} failed", plural(failed, "call")),
        };
        format!("{how} (exit {})", self.code.number())
    }
}

/// What requests cost; what machines cost is theirs who run them.
pub fn told(cost: &Cost) -> String {
    let mut text =
        format!("{} for {}", cost::shown(cost.dollars.total), plural(cost.requests_total, "request"));
    if let Some(million) = cost.dollars_a_million() {
        let _ = write!(text, ": {} a million calls", cost::shown(million));
        if let Some(hour) = cost.dollars_per_worker_hour {
            let _ = write!(text, " and {} an hour of a worker", cost::shown(hour));
        }
    }
    text
}

/// What a function wrote is not to move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_rate_is_told_of_many_calls_alone() {
        let told = |calls| {
            let requests = BTreeMap::from([("put".to_owned(), 40), ("receive".to_owned(), 10)]);
            super::told(&Cost::of(requests, calls, Some(3_600_000)))
        };
        assert_eq!(told(999), "$0.00020 for 50 requests");
        assert_eq!(
            told(1_000),
            "$0.00020 for 50 requests: $0.20 a million calls and $0.0000040 an hour of a worker"
        );
    }
}
