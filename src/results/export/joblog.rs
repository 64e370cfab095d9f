//! A log of calls in the columns of GNU parallel's `--joblog`, so that what reads those reads these.

use std::path::Path;

use super::file::Output;
use crate::error::{Error, Result};
use crate::layout::part::{Row, RowResult};
use crate::model::{BatchId, State};
use crate::results::rows::{Finished, Options, ResultRow, Rows};
use crate::seam::Deps;

const HEAD: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// Writes to a path, atomically. Returns the error that names the objects which cannot be read: what only they hold is left
/// out.
pub async fn write(
    deps: &Deps,
    batch: BatchId,
    command: &str,
    path: &Path,
    force: bool,
) -> Result<Option<Error>> {
    let options = Options { input: true, finished: Finished::Is, ..Options::default() };
    let mut rows = Rows::open(deps, batch, options).await?;
    let command = command.replace(['\t', '\n'], " ");
    let mut output = Output::create(path, force)?;
    let failed = |error: std::io::Error| Error::invalid(format!("write {}: {error}", path.display()));
    output.writer().write_all(HEAD.as_bytes()).map_err(failed)?;
    while let Some(block) = rows.next_readable().await? {
        let lines: String = block.iter().filter_map(|row| line(row, &command)).collect();
        output.writer().write_all(lines.as_bytes()).map_err(failed)?;
    }
    output.commit()?;
    Ok(rows.check_complete(&[]).err())
}

/// `None`: the call never ran, as GNU parallel logs no job that it did not start.
fn line(row: &ResultRow, command: &str) -> Option<String> {
    let outcome = row.outcome.as_ref()?;
    let started_at = outcome.started_at?;
    let sent = row.input.as_ref().map_or(0, |record| match &record.object {
        Some(object) => object.bytes,
        None => record.payload.len() as u64,
    });
    let (exit, signal) = ended(row.status, outcome);
    Some(format!(
        "{}\t{}\t{}.{:03}\t{}.{:03}\t{sent}\t{}\t{exit}\t{signal}\t{command}\n",
        row.number,
        outcome.worker,
        started_at.0 / 1000,
        started_at.0 % 1000,
        outcome.run_ms / 1000,
        outcome.run_ms % 1000,
        received(outcome),
    ))
}

fn received(outcome: &Row) -> u64 {
    match &outcome.result {
        RowResult::None => 0,
        RowResult::Inline(body) => body.len() as u64,
        RowResult::Stored { bytes, .. } => *bytes,
    }
}

/// Exit code and signal. A call that ran out of time was killed, as GNU parallel does it; one of which no more is known
/// than that it failed has exit code 1.
fn ended(status: State, outcome: &Row) -> (i32, i32) {
    let number = |prefix: &str| {
        let rest = outcome.error.as_deref()?.strip_prefix(prefix)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    match status {
        State::Success => (0, 0),
        State::Timeout | State::Killed | State::Cancelled => (-1, 9),
        State::Error | State::Delayed | State::Queued | State::Running => {
            match (number("exit code "), number("killed by signal ")) {
                (Some(code), _) => (code, 0),
                (None, Some(signal)) => (0, signal),
                (None, None) => (1, 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    fn row(status: State, error: Option<&str>) -> ResultRow {
        let batch = BatchId::new(Time(1_700_000_000_000), 1);
        let outcome = Row {
            number: 3,
            status,
            attempts: 1,
            created_at: Time(1_700_000_000_000),
            queued_ms: 5,
            start_ms: 1,
            run_ms: 1_020,
            started_at: Some(Time(1_700_000_001_007)),
            completed_at: Time(1_700_000_002_027),
            content_type: None,
            result: RowResult::Inline("12345".into()),
            error: error.map(str::to_owned),
            log: None,
            worker: "w".into(),
            worker_version: "0".into(),
        };
        ResultRow {
            number: 3,
            call: batch.call(3),
            status,
            outcome: Some(outcome),
            source: None,
            key: None,
            input: None,
        }
    }

    #[test]
    fn a_line_has_parallels_columns() {
        let told = line(&row(State::Success, None), "awk -f x").unwrap();
        assert_eq!(told, "3\tw\t1700000001.007\t1.020\t0\t5\t0\t0\tawk -f x\n");
        assert_eq!(told.split('\t').count(), HEAD.split('\t').count());
        let end = |status, error| {
            let told = line(&row(status, error), "").unwrap();
            let columns: Vec<&str> = told.split('\t').collect();
            (columns[6].to_owned(), columns[7].to_owned())
        };
        let pair = |exit: &str, signal: &str| (exit.to_owned(), signal.to_owned());
        assert_eq!(end(State::Error, Some("exit code 65: negative")), pair("65", "0"));
        assert_eq!(end(State::Error, Some("killed by signal 11")), pair("0", "11"));
        assert_eq!(end(State::Error, Some("out of memory")), pair("1", "0"));
        assert_eq!(end(State::Timeout, Some("timed out after 4 s")), pair("-1", "9"));
    }

    #[test]
    fn what_never_ran_has_no_line() {
        let mut refused = row(State::Error, Some("line 3 is not JSON"));
        refused.outcome.as_mut().unwrap().started_at = None;
        assert_eq!(line(&refused, ""), None);
    }
}
