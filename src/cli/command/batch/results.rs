//! `afn batch results`

use clap::Args;

use crate::cli::batch::ending::export_rows;
use crate::cli::find;
use crate::cli::format::{plural, short_path};
use crate::cli::options::{BatchArgs, ShapeFlags};
use crate::cli::parse::{Destination, Output};
use crate::cli::session::Session;
use crate::error::Result;
use crate::model::State;
use crate::results::export;
use crate::results::rows::{self, Finished};

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

    /// For records that were retried, the outcome of the last retry.
    #[arg(long)]
    pub latest: bool,

    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, args: BatchResultsArgs) -> Result<()> {
    let destination = args.output.and_then(Output::into_destination).unwrap_or(Destination::Stdout);
    destination.check(args.force)?;
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    let options = rows::Options {
        input: args.shape.include_input,
        names: true,
        statuses: args.status,
        latest: args.latest,
        finished: Finished::NeedNot,
    };
    let export = export::Options { flatten: args.shape.flatten, force: args.force, csv: args.shape.csv };
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
