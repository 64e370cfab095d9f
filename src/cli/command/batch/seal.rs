//! `afn batch seal`

use crate::cli::args::BatchArg;
use crate::cli::batch::which;
use crate::cli::command::cancel::who;
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::error::Result;
use crate::submit::seal::seal;

pub async fn run(session: &Session, args: BatchArg) -> Result<()> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch)?;
    let sealed = seal(&engine.seams, batch, &who(session)?).await?;
    session.printer.done(format!("{batch} is sealed: {}", plural(sealed.calls(), "call")), &sealed)
}
