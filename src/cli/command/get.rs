//! `afn get …`

use serde_json::json;

use crate::cli::args::{CallOfApp, GetNoun, LogsOfCall};
use crate::cli::session::Session;
use crate::cli::{call_view, command, find, hint, waiting};
use crate::error::Result;
use crate::results::body;

pub async fn run(session: &Session, noun: GetNoun) -> Result<()> {
    match noun {
        GetNoun::Call(args) => call(session, args).await,
        GetNoun::Result(args) => result(session, args).await,
        GetNoun::Logs(args) => logs(session, args).await,
        GetNoun::Config(noun) => command::config::get(session, noun).await,
    }
}

async fn call(session: &Session, args: CallOfApp) -> Result<()> {
    let engine = session.open().await?;
    let call = find::call(&engine.seams, &args.app, args.call).await?;
    if session.printer.is_json() {
        return session.printer.json(&call_view::record(&engine.seams, &call).await?);
    }
    session.printer.data(call_view::block(&call))?;
    hint::tell(&session.printer, &engine.seams, &call).await
}

async fn result(session: &Session, args: CallOfApp) -> Result<()> {
    let engine = session.open().await?;
    let call = find::call(&engine.seams, &args.app, args.call).await?;
    if session.printer.is_json() {
        return session.printer.json(&waiting::result_json(&engine.seams, &call).await?);
    }
    body::result(&engine.seams, &call, &mut session.printer.stdout()).await?;
    Ok(())
}

async fn logs(session: &Session, args: LogsOfCall) -> Result<()> {
    let engine = session.open().await?;
    let call = find::call(&engine.seams, &args.call.app, args.call.call).await?;
    let write = async |sink: &mut body::Sink<'_>| match args.attempt {
        Some(which) => body::log_of(&engine.seams, &call, which, sink).await,
        None => body::log(&engine.seams, &call, sink).await,
    };
    if session.printer.is_json() {
        let mut log = Vec::new();
        write(&mut log).await?;
        let log = String::from_utf8_lossy(&log);
        return session.printer.json(&json!({ "call_id": call.id, "log": log }));
    }
    write(&mut session.printer.stdout()).await?;
    Ok(())
}
