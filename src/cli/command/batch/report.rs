//! `afn batch report`

use clap::Args;
use serde_json::json;

use crate::cli::find;
use crate::cli::format::short_path;
use crate::cli::options::BatchArgs;
use crate::cli::parse::{Destination, Output, absolute};
use crate::cli::session::Session;
use crate::error::Result;
use crate::results::batch;
use crate::results::export::file;
use crate::results::report::{gather, write};

#[derive(Debug, Clone, Args)]
pub struct BatchReportArgs {
    #[command(flatten)]
    pub of: BatchArgs,

    /// The HTML file; by default BATCH.html in this folder, - is stdout.
    #[arg(id = "output", long, short, value_name = "FILE")]
    pub output: Option<Output>,

    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

pub async fn run(session: &Session, args: BatchReportArgs) -> Result<()> {
    let (engine, batch) = find::batch(session, args.of.batch).await?;
    let destination = match args.output.and_then(Output::into_destination) {
        Some(destination) => destination,
        None => Destination::File(absolute(format!("{batch}.html").as_ref())?),
    };
    if let Destination::File(path) = &destination {
        file::check(path, args.force)?;
    }
    let view = batch::load(&engine.deps, batch).await?;
    let gathered = gather(&engine.deps, &view).await?;
    match destination {
        Destination::Stdout => write(&view, &gathered, None, &mut session.printer.clone())?,
        Destination::File(path) => {
            let mut output = file::Output::create(&path, args.force)?;
            write(&view, &gathered, None, output.writer())?;
            output.commit()?;
            let line = format!("report written to {}", short_path(&path));
            match gathered.incomplete {
                Some(_) => session.printer.note(line),
                None => session.printer.done(line, &json!({ "report": path }))?,
            }
        }
    }
    gathered.incomplete.map_or(Ok(()), Err)
}
