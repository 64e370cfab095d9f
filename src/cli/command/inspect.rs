//! `afn inspect …`: JSON whatever the output format, as Fn prints it.

use crate::cli::args::InspectNoun;
use crate::cli::session::Session;
use crate::cli::{find, json};
use crate::error::Result;

pub async fn run(session: &Session, noun: InspectNoun) -> Result<()> {
    let engine = session.open().await?;
    match noun {
        InspectNoun::App(args) => {
            let app = engine.catalog.app(&args.app).await?;
            session.printer.json(&json::app(&args.app, &app))
        }
        InspectNoun::Function(args) => {
            let function = find::function(&engine.catalog, &args.app, &args.function).await?;
            let version = engine.catalog.version(&args.app, &function.name, &function.version).await?;
            session.printer.json(&json::deployed(&args.app, &function, &version))
        }
    }
}
