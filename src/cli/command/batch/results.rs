//! `afn batch results`

use crate::cli::args::BatchResultsArgs;
use crate::cli::batch::place::{Place, shown};
use crate::cli::batch::{ending, which};
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::error::Result;
use crate::results::export::{self, Format};
use crate::results::rows::{self, Finished, Rows};

pub async fn run(session: &Session, args: BatchResultsArgs) -> Result<()> {
    let place = Place::of(args.output.as_ref())?.unwrap_or(Place::Stdout);
    place.check(args.force)?;
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    let format = match &place {
        Place::Stdout => Format::JsonLines,
        Place::File(path) => Format::of(path)?,
    };
    let options = rows::Options {
        input: args.shape.include_input || ending::needs_input(format),
        names: true,
        statuses: args.status,
        latest: args.latest,
        finished: Finished::NeedNot,
    };
    let rows = Rows::open(&engine.seams, batch, options).await?;
    let exported = match place {
        Place::Stdout => ending::to_stdout(&session.printer, &engine.seams, rows, args.shape.flatten).await?,
        Place::File(path) => {
            let options = export::Options { flatten: args.shape.flatten, force: args.force };
            let exported = export::to_path(&engine.seams, rows, &path, format, options, |_| {}).await?;
            session.printer.note(format!("{} written to {}", plural(exported.rows, "row"), shown(&path)));
            exported
        }
    };
    let undecided: u64 =
        exported.counts.iter().filter(|(state, _)| !state.is_final()).map(|(_, count)| count).sum();
    if undecided > 0 {
        session
            .printer
            .warning(format!("{undecided} of {} have not ended yet", plural(exported.rows, "row")));
        session.printer.hint(format!("`afn batch wait {batch}` waits for them"));
    }
    Ok(())
}
