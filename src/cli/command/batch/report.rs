//! `afn batch report`

use std::path::PathBuf;

use crate::cli::args::BatchReportArgs;
use crate::cli::batch::place::{Place, absolute, check, shown};
use crate::cli::batch::which;
use crate::cli::session::Session;
use crate::error::Result;
use crate::results::batch;
use crate::results::export::file::Output;
use crate::results::report::{gather, write};

pub async fn run(session: &Session, args: BatchReportArgs) -> Result<()> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch.batch)?;
    let place = match Place::of(args.output.as_ref())? {
        Some(place) => place,
        None => Place::File(absolute(&PathBuf::from(format!("{batch}.html")))?),
    };
    if let Place::File(path) = &place {
        check(path, args.force)?;
    }
    let view = batch::load(&engine.seams, batch).await?;
    let gathered = gather(&engine.seams, &view).await?;
    match place {
        Place::Stdout => write(&view, &gathered, None, &mut session.printer.writer()),
        Place::File(path) => {
            let mut output = Output::create(&path, args.force)?;
            write(&view, &gathered, None, output.writer())?;
            output.commit()?;
            session
                .printer
                .done(format!("report written to {}", shown(&path)), &serde_json::json!({ "report": path }))
        }
    }
}
