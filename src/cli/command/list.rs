//! `afn list …`, and `afn batch list`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{config, context};
use crate::catalog::Catalog;
use crate::cli::format::{or_dash, plural};
use crate::cli::options::{AppArgs, Shown};
use crate::cli::parse;
use crate::cli::session::Session;
use crate::cli::view::{call_block, function_record};
use crate::error::Result;
use crate::limits::{LIST_BATCHES_DEFAULT, LIST_CALLS_DEFAULT};
use crate::model::{AppName, BatchId, CallId, Function, Route, State, Time};
use crate::results;
use crate::results::batch::BatchRow;
use crate::results::list::{CallList, Filter, list};

#[derive(Debug, Subcommand)]
pub enum ListNoun {
    /// All apps, by name.
    #[command(visible_aliases = ["app", "a"])]
    Apps,

    /// The functions of an app.
    #[command(visible_aliases = ["function", "fn", "f", "routes", "route", "r"])]
    Functions(Shown<AppArgs>),

    /// The calls of an app, newest first.
    #[command(visible_aliases = ["call", "cl"])]
    Calls(ListCallsArgs),

    /// All config values of an app or function.
    #[command(visible_alias = "cf", subcommand)]
    Config(config::ShownOwner),

    /// All contexts; the current one is marked.
    #[command(visible_aliases = ["context", "ctx"])]
    Contexts,
}

#[derive(Debug, Clone, Args)]
pub struct ListCallsArgs {
    /// The app's name.
    pub app: AppName,

    /// Only calls of this route.
    #[arg(long, value_name = "ROUTE", value_parser = Route::lenient)]
    pub path: Option<Route>,

    /// Only calls in this state: delayed, queued, running, success, error, timeout, killed, cancelled. Repeatable.
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<State>,

    /// Only calls made after this time: 2026-11-24T10:00:00Z, a day, or a while ago like 2h.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub from_time: Option<Time>,

    /// Only calls made before this time.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub to_time: Option<Time>,

    /// Continue after this call; the end of an earlier list names it.
    #[arg(long, value_name = "CALL_ID")]
    pub cursor: Option<CallId>,

    /// How many calls to show at most. A list reads no more than 10,000 calls, then prints how to continue.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = LIST_CALLS_DEFAULT)]
    pub max: usize,
}

#[derive(Debug, Clone, Args)]
pub struct BatchListArgs {
    /// The app's name.
    pub app: AppName,

    /// Continue after this batch; the end of an earlier list names it.
    #[arg(long, value_name = "BATCH")]
    pub cursor: Option<BatchId>,

    /// How many batches to show at most.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = LIST_BATCHES_DEFAULT)]
    pub max: usize,
}

pub async fn run(session: &Session, noun: ListNoun) -> Result<()> {
    match noun {
        ListNoun::Apps => apps(session).await,
        ListNoun::Functions(args) => functions(session, args).await,
        ListNoun::Calls(args) => calls(session, args).await,
        ListNoun::Config(owner) => config::list(session, owner).await,
        ListNoun::Contexts => context::list(session),
    }
}

async fn apps(session: &Session) -> Result<()> {
    let apps = session.open().await?.catalog.list_apps().await?;
    if apps.is_empty() && !session.printer.is_json() {
        session.printer.note("No apps found");
    }
    let records: Vec<_> = apps.iter().map(|name| json!({ "name": name })).collect();
    session.printer.answer(&json!({ "apps": records }), &apps.iter().collect())
}

async fn functions(session: &Session, args: Shown<AppArgs>) -> Result<()> {
    let (app, values) = (&args.of.app, args.values());
    let functions = session.open().await?.catalog.list_functions(app).await?;
    let records: Vec<_> = functions.iter().map(|function| function_record(app, function, values)).collect();
    let row = |of: Function| {
        [
            of.route.to_string(),
            of.name.to_string(),
            of.kind.to_string(),
            of.version.to_string(),
            of.updated_at.to_string(),
        ]
    };
    let rows: Vec<_> = functions.into_iter().map(row).collect();
    let head = ["PATH", "NAME", "TYPE", "VERSION", "UPDATED AT"];
    let none = format!("No functions found in app {app}");
    session.printer.table(&json!({ "functions": records }), head, &rows, &none)
}

async fn calls(session: &Session, args: ListCallsArgs) -> Result<()> {
    let engine = session.open().await?;
    let filter = Filter {
        status: args.status.clone(),
        route: args.path.clone(),
        from: args.from_time,
        to: args.to_time,
        max: args.max,
        cursor: args.cursor,
    };
    let found = list(&engine.deps, &args.app, &filter).await?;
    if found.calls.is_empty() && args.cursor.is_none() {
        check_names(&engine.catalog, &args, &found).await?;
    }
    session.printer.answer(&found, &found.calls.iter().map(call_block).collect())?;
    if session.printer.is_json() {
        return Ok(());
    }
    for unreadable in &found.unreadable {
        session.printer.warning(format!("call {} cannot be read: {}", unreadable.id, unreadable.why));
    }
    let (shown, scanned) = (found.calls.len() as u64, found.scanned as u64);
    session.printer.note(format!("{} shown, {scanned} read", plural(shown, "call")));
    if let Some(more) = next_command(&args, &filter, &found) {
        session.printer.hint(more);
    }
    Ok(())
}

/// An empty list of an app or route that does not exist is an error. Calls outlive both, so a list with calls is none.
async fn check_names(catalog: &Catalog, args: &ListCallsArgs, found: &CallList) -> Result<()> {
    if found.scanned == 0 {
        catalog.app(&args.app).await?;
    }
    if let Some(route) = &args.path {
        catalog.resolve(&args.app, route).await?;
    }
    Ok(())
}

/// The command that lists what comes after.
fn next_command(args: &ListCallsArgs, filter: &Filter, found: &CallList) -> Option<String> {
    let cursor = found.cursor?;
    let mut command = format!("afn list calls {}", args.app);
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            command.push_str(&format!(" {flag} {value}"));
        }
    };
    add("--path", args.path.as_ref().map(ToString::to_string));
    for status in &filter.status {
        add("--status", Some(status.to_string()));
    }
    add("--from-time", filter.from.map(|time| time.to_string()));
    add("--to-time", filter.to.map(|time| time.to_string()));
    add("-n", (args.max != LIST_CALLS_DEFAULT).then(|| args.max.to_string()));
    add("--cursor", Some(cursor.to_string()));
    Some(format!("there may be more: `{command}`"))
}

pub async fn batches(session: &Session, args: BatchListArgs) -> Result<()> {
    let engine = session.open().await?;
    let found = results::list::list_batches(&engine.deps, &args.app, args.max, args.cursor).await?;
    for unreadable in &found.unreadable {
        session.printer.warning(format!("batch {} cannot be read: {}", unreadable.id, unreadable.why));
    }
    let row = |of: &BatchRow| {
        [
            of.batch.to_string(),
            or_dash(of.route.as_ref()),
            of.status.to_string(),
            or_dash(of.calls),
            of.created_at.to_string(),
        ]
    };
    let rows: Vec<_> = found.batches.iter().map(row).collect();
    let head = ["BATCH", "PATH", "STATUS", "CALLS", "CREATED AT"];
    let none = format!("No batches found in app {}", args.app);
    session.printer.table(&found, head, &rows, &none)?;
    if session.printer.is_json() {
        return Ok(());
    }
    if let Some(cursor) = found.cursor {
        let app = &args.app;
        let max = match args.max {
            LIST_BATCHES_DEFAULT => String::new(),
            max => format!(" -n {max}"),
        };
        session.printer.hint(format!("there may be more: `afn batch list {app}{max} --cursor {cursor}`"));
    }
    Ok(())
}
