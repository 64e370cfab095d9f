//! `afn get …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::config::{self, Key};
use crate::cli::parse::{self, CallOrBatch, Reference};
use crate::cli::session::Session;
use crate::cli::{find, view, waiting};
use crate::error::{Error, Result};
use crate::model::{AppName, CallId};
use crate::results::why::why;
use crate::results::{attempts, body};

#[derive(Debug, Subcommand)]
pub enum GetNoun {
    /// The state and times of a call, as Fn prints them.
    #[command(visible_aliases = ["calls", "cl"])]
    Call(CallOrKey),

    /// The response of a call that succeeded: byte for byte, but on a terminal with control characters made visible.
    #[command(visible_alias = "results")]
    Result(CallOfApp),

    /// What a call wrote: stdout and stderr of the attempt that counts, or of another.
    #[command(visible_aliases = ["log", "lg"])]
    Logs(LogsOfCall),

    /// One config value.
    #[command(visible_alias = "cf", subcommand)]
    Config(Key),
}

/// One call, by its id or by its key in a batch.
#[derive(Debug, Clone, Args)]
#[command(allow_missing_positional = true)]
pub struct CallOrKey {
    /// The call's app; without it, all apps are searched.
    pub app: Option<AppName>,

    /// The call's id; `last` or `l` is the newest call of the app. With --key a batch, whose `last` is the newest that was
    /// submitted from this machine.
    #[arg(value_name = "CALL_ID", required = true)]
    pub id: CallOrBatch,

    /// The key of the call's record, as `--key FIELD` of the batch says.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// One call of an app, or its newest.
#[derive(Debug, Clone, Args)]
pub struct CallOfApp {
    /// The call's app.
    pub app: AppName,

    /// The call's id; `last` or `l` is the newest call of the app.
    #[arg(value_name = "CALL_ID")]
    pub call: Reference<CallId>,
}

#[derive(Debug, Clone, Args)]
pub struct LogsOfCall {
    #[command(flatten)]
    pub call: CallOfApp,

    /// The log of this attempt instead, by its number or its name; `get call -o json` lists those that failed.
    #[arg(long, value_name = "ATTEMPT", value_parser = parse::attempt)]
    pub attempt: Option<attempts::Which>,
}

pub async fn run(session: &Session, noun: GetNoun) -> Result<()> {
    match noun {
        GetNoun::Call(args) => call(session, args).await,
        GetNoun::Result(args) => result(session, args).await,
        GetNoun::Logs(args) => logs(session, args).await,
        GetNoun::Config(key) => config::get(session, key).await,
    }
}

async fn call(session: &Session, args: CallOrKey) -> Result<()> {
    let engine = session.open().await?;
    let call = match (args.id, args.key) {
        (CallOrBatch::Call(call), None) => find::call(&engine.deps, args.app.as_ref(), call).await?,
        (CallOrBatch::Batch(batch), None) => {
            return Err(Error::invalid(format!("{batch} is a batch, not a call")).with_hint(format!(
                "`afn batch status {batch}` shows it; `afn get call {batch} --key K` shows the call of a record"
            )));
        }
        (CallOrBatch::Batch(batch), Some(key)) => {
            find::call_by_key(session, &engine, Reference::Id(batch), &key).await?
        }
        (CallOrBatch::Call(Reference::Newest), Some(key)) => {
            find::call_by_key(session, &engine, Reference::Newest, &key).await?
        }
        (CallOrBatch::Call(Reference::Id(call)), Some(_)) => {
            return Err(Error::invalid(format!("{call} is a call, and only a batch has records with keys"))
                .with_hint("`afn get call BATCH --key K`"));
        }
    };
    if session.printer.is_json() {
        let failed = attempts::earlier(&engine.deps, &call).await?;
        return session.printer.json(&view::call_record(&call, &failed)?);
    }
    session.printer.text(&view::call_block(&call))?;
    if !session.printer.is_quiet
        && let Some(why) = why(&engine.deps, &call).await?
    {
        session.printer.note(format!("Why: {why}"));
    }
    Ok(())
}

async fn result(session: &Session, args: CallOfApp) -> Result<()> {
    let engine = session.open().await?;
    let call = find::call(&engine.deps, Some(&args.app), args.call).await?;
    waiting::print_result(&session.printer, &engine.deps, &call).await
}

async fn logs(session: &Session, args: LogsOfCall) -> Result<()> {
    let engine = session.open().await?;
    let call = find::call(&engine.deps, Some(&args.call.app), args.call.call).await?;
    let write = async |sink: &mut body::Sink<'_>| match args.attempt {
        Some(which) => body::log_of(&engine.deps, &call, which, sink).await,
        None => body::log(&engine.deps, &call, sink).await,
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
