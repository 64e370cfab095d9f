//! `afn batch seal`

use crate::cli::args::BatchArg;
use crate::cli::batch::which;
use crate::cli::command::cancel::who;
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::error::Result;
use crate::submit::resume::{ResumeRequest, resume};
use crate::submit::seal::seal;

pub async fn run(session: &Session, args: BatchArg) -> Result<()> {
    let engine = session.open().await?;
    let batch = which::batch(session, &engine, args.batch)?;
    let sealed = seal(&engine.seams, batch, &who(session)?).await?;
    // Whoever died before the end of its source may have left chunks without a message.
    let again = ResumeRequest { batch, source: None, bucket: None };
    resume(&engine.seams, again, &|_| {}).await?;
    session.printer.done(format!("{batch} is sealed: {}", plural(sealed.calls(), "call")), &sealed)
}
