//! `afn delete …`

use serde_json::json;

use crate::cli::args::{AppArgs, DeleteNoun, FunctionNamed};
use crate::cli::session::Session;
use crate::cli::{command, find};
use crate::error::Result;

pub async fn run(session: &Session, noun: DeleteNoun) -> Result<()> {
    match noun {
        DeleteNoun::App(args) => app(session, args).await,
        DeleteNoun::Function(args) => function(session, args).await,
        DeleteNoun::Context(args) => command::context::delete(session, &args),
    }
}

async fn app(session: &Session, args: AppArgs) -> Result<()> {
    session.open().await?.catalog.delete_app(&args.app).await?;
    session.printer.done(format!("Successfully deleted app {}", args.app), &json!({ "app": args.app }))
}

async fn function(session: &Session, args: FunctionNamed) -> Result<()> {
    let engine = session.open().await?;
    let function = find::function(&engine.catalog, &args.app, &args.function).await?;
    engine.catalog.delete_function(&args.app, &function.name).await?;
    let record = json!({ "app": args.app, "name": function.name, "route": function.route });
    session.printer.done(format!("{} {} deleted", args.app, function.route), &record)
}
