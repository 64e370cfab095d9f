//! `afn cancel`

use crate::cli::args::AppAndCall;
use crate::cli::find;
use crate::cli::session::Session;
use crate::error::Result;
use crate::submit::cancel::cancel;

pub async fn run(session: &Session, args: AppAndCall) -> Result<()> {
    let engine = session.open().await?;
    let call = find::call_anywhere(&engine.seams, &args).await?;
    let outcome = cancel(&engine.seams, &call.app, call.id, &who(session)?).await?;
    session.printer.done(format!("{} cancelled", call.id), &outcome)
}

/// `alice@laptop`, for whoever wonders later.
fn who(session: &Session) -> Result<String> {
    let user = session.env.text("USER")?.unwrap_or_else(|| "somebody".to_owned());
    let system = rustix::system::uname();
    Ok(format!("{user}@{}", system.nodename().to_string_lossy()))
}
