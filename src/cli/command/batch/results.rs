//! `afn batch results`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::batch::ending::export_rows;
use crate::cli::batch::outputs::RunInputs;
use crate::cli::find;
use crate::cli::format::{plural, short_path};
use crate::cli::options::{BatchArgs, ShapeFlags};
use crate::cli::parse::{Destination, Output};
use crate::cli::session::Session;
use crate::embedded::Engine;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{BatchId, BatchRef, State};
use crate::results::batch::{app_of, find_by_key};
use crate::results::export::{self, FailedInputs, file};
use crate::results::reasons::FAILED;
use crate::results::rows::{self, Finished, Rows, SortColumn};

#[derive(Debug, Clone, Args)]
pub struct BatchResultsArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    /// Where the results go: a .jsonl, .csv or .parquet file, or a folder that ends in a slash; by default stdout, as JSON Lines.
    #[arg(id = "output", long, short, value_name = "FILE")]
    pub output: Option<Output>,

    /// Only rows of this status: success, error, timeout, killed, cancelled. Repeatable.
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<State>,

    #[command(flatten)]
    pub shape: ShapeFlags,

    /// Only the row of the record with this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,

    /// Sort rows, those with the largest values first: attempts, queued_ms, start_ms, run_ms, started_at or completed_at. Needs -n;
    /// rows that have no such value are left out.
    #[arg(long, value_name = "COLUMN", requires = "count")]
    pub sort: Option<SortColumn>,

    /// At most this many rows; up to 10000 sorted ones.
    #[arg(short = 'n', value_name = "COUNT")]
    pub count: Option<u64>,

    /// Write the payloads of the calls that failed to this file, in the form of the source, to be submitted again: .jsonl, .csv, .tsv
    /// or .txt. Without --output no rows are written then.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["status", "sort", "count", "key", "form", "flatten", "include_input"])]
    pub failed_inputs: Option<PathBuf>,

    /// For records that were retried, the outcome of the last retry.
    #[arg(long)]
    pub latest: bool,

    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, args: BatchResultsArgs) -> Result<()> {
    if args.sort.is_some() && args.count.is_some_and(|count| count > limits::SORTED_ROWS_MAX) {
        return Err(Error::invalid(format!("at most {} rows are sorted", limits::SORTED_ROWS_MAX))
            .with_hint("`-o FILE.csv` or `-o FILE.parquet` writes all rows, for other programs to sort"));
    }
    let destination = args.output.and_then(Output::into_destination);
    if let Some(destination) = &destination {
        destination.check(args.shape.form, args.force)?;
    }
    if let Some(path) = &args.failed_inputs {
        file::check(path, args.force)?;
    }
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    let inputs = RunInputs::of_batch(session, batch)?;
    if let Some(Destination::File(path)) = &destination {
        inputs.check_path("--output", path)?;
    }
    if let Some(path) = &args.failed_inputs {
        inputs.check_path("--failed-inputs", path)?;
    }
    if let Some(path) = &args.failed_inputs {
        write_failed_inputs(session, &engine, batch, path, args.latest, args.force).await?;
        if destination.is_none() {
            return Ok(());
        }
    }
    let destination = destination.unwrap_or(Destination::Stdout);
    let number = match &args.key {
        Some(key) => {
            let of = BatchRef { app: app_of(&engine.deps, batch).await?, batch };
            Some(find_by_key(&engine.deps, &of, key).await?)
        }
        None => None,
    };
    let options = rows::Options {
        input: args.shape.include_input,
        names: true,
        statuses: args.status,
        latest: args.latest,
        finished: Finished::NeedNot,
        number,
        sort: args.sort,
        count: args.count,
    };
    let export = export::Options {
        flatten: args.shape.flatten,
        force: args.force,
        csv: args.shape.csv,
        form: args.shape.form,
    };
    let exported = export_rows(&session.printer, &engine.deps, batch, &destination, options, export).await?;
    let rows = plural(exported.rows, "row");
    if let Destination::File(path) = &destination {
        session.printer.note(format!("{rows} written to {}", short_path(path)));
    }
    let undecided: u64 =
        exported.counts.iter().filter(|(state, _)| !state.is_final()).map(|(_, count)| count).sum();
    if undecided > 0 {
        session.printer.warning(format!("{undecided} of {rows} have not ended yet"));
        session.printer.hint(format!("`afn batch wait {batch}` waits for them"));
    }
    exported.incomplete.map_or(Ok(()), Err)
}

async fn write_failed_inputs(
    session: &Session,
    engine: &Engine,
    batch: BatchId,
    path: &Path,
    latest: bool,
    force: bool,
) -> Result<()> {
    let options = rows::Options {
        input: true,
        names: true,
        statuses: FAILED.to_vec(),
        latest,
        finished: Finished::NeedNot,
        ..rows::Options::default()
    };
    let rows = Rows::open(&engine.deps, batch, options).await?;
    let FailedInputs { exported, left_out } = export::write_inputs(&engine.deps, rows, path, force).await?;
    let written = plural(exported.rows - left_out, "record");
    session.printer.note(format!("{written} written to {}", short_path(path)));
    if left_out > 0 {
        let refused = plural(left_out, "record");
        session.printer.warning(format!("{refused} had to be left out: refused as no record of this form"));
        session
            .printer
            .hint(format!("`afn batch results {batch} --status error` tells where they are in the source"));
    }
    exported.incomplete.map_or(Ok(()), Err)
}
