//! `afn list …`

use serde_json::json;

use crate::catalog::Catalog;
use crate::cli::args::{AppArgs, ListCallsArgs, ListNoun};
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::cli::table::table;
use crate::cli::{call_view, command, json};
use crate::error::Result;
use crate::results::list::{CallList, Filter, list};

pub async fn run(session: &Session, noun: ListNoun) -> Result<()> {
    match noun {
        ListNoun::Apps => apps(session).await,
        ListNoun::Functions(args) => functions(session, args).await,
        ListNoun::Calls(args) => calls(session, args).await,
        ListNoun::Config(noun) => command::config::list(session, noun).await,
        ListNoun::Contexts => command::context::list(session),
    }
}

async fn apps(session: &Session) -> Result<()> {
    let apps = session.open().await?.catalog.list_apps().await?;
    if session.printer.is_json() {
        let apps: Vec<_> = apps.iter().map(|name| json!({ "name": name })).collect();
        return session.printer.json(&json!({ "apps": apps }));
    }
    if apps.is_empty() {
        session.printer.note("No apps found");
    }
    for app in apps {
        session.printer.line(app)?;
    }
    Ok(())
}

async fn functions(session: &Session, args: AppArgs) -> Result<()> {
    let functions = session.open().await?.catalog.list_functions(&args.app).await?;
    if session.printer.is_json() {
        let functions: Vec<_> =
            functions.iter().map(|function| json::function(&args.app, function)).collect();
        return session.printer.json(&json!({ "functions": functions }));
    }
    if functions.is_empty() {
        session.printer.note(format!("No functions found in app {}", args.app));
        return Ok(());
    }
    let rows: Vec<_> = functions
        .iter()
        .map(|function| {
            [
                function.route.to_string(),
                function.name.to_string(),
                function.kind.to_string(),
                function.version.to_string(),
                function.updated_at.to_string(),
            ]
        })
        .collect();
    session.printer.data(table(["PATH", "NAME", "TYPE", "VERSION", "UPDATED AT"], &rows))
}

async fn calls(session: &Session, args: ListCallsArgs) -> Result<()> {
    let engine = session.open().await?;
    let now = engine.seams.now();
    let filter = Filter {
        status: args.status.clone(),
        route: args.path.clone(),
        from: args.from_time.map(|from| from.time(now)),
        to: args.to_time.map(|to| to.time(now)),
        max: args.max,
        cursor: args.cursor,
        batches: false,
    };
    let found = list(&engine.seams, &args.app, &filter).await?;
    if found.calls.is_empty() && args.cursor.is_none() {
        must_be_there(&engine.catalog, &args, &found).await?;
    }
    if session.printer.is_json() {
        return session.printer.json(&found);
    }
    for call in &found.calls {
        session.printer.data(call_view::block(call))?;
    }
    for unreadable in &found.unreadable {
        session.printer.warning(format!("call {} cannot be read: {}", unreadable.id, unreadable.why));
    }
    let (shown, scanned) = (found.calls.len() as u64, found.scanned as u64);
    session.printer.note(format!("{} shown, {scanned} looked at", plural(shown, "call")));
    if let Some(more) = go_on(&args, &filter, &found) {
        session.printer.hint(more);
    }
    Ok(())
}

/// An empty list of an app or route that is not there is a slip, not an answer. Calls outlive both.
async fn must_be_there(catalog: &Catalog, args: &ListCallsArgs, found: &CallList) -> Result<()> {
    if found.scanned == 0 {
        catalog.app(&args.app).await?;
    }
    if let Some(route) = &args.path {
        catalog.resolve(&args.app, route).await?;
    }
    Ok(())
}

/// The command that lists what comes after.
fn go_on(args: &ListCallsArgs, filter: &Filter, found: &CallList) -> Option<String> {
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
    add("-n", (args.max != crate::limits::LIST_CALLS_DEFAULT).then(|| args.max.to_string()));
    add("--cursor", Some(cursor.to_string()));
    Some(format!("there may be more: `{command}`"))
}
