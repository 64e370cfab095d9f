//! `afn dlq …`

use std::collections::BTreeSet;

use serde_json::json;

use crate::cli::args::{DlqCommand, LettersArgs, ListLettersArgs};
use crate::cli::lines::plural;
use crate::cli::session::Session;
use crate::cli::table::table;
use crate::error::{Error, Result};
use crate::submit::dead::{self, Pick};

pub async fn run(session: &Session, command: DlqCommand) -> Result<()> {
    match command {
        DlqCommand::List(args) => list(session, args).await,
        DlqCommand::Show { id } => show(session, &id).await,
        DlqCommand::Redrive(args) => redrive(session, args).await,
        DlqCommand::Purge(args) => purge(session, args).await,
    }
}

async fn list(session: &Session, args: ListLettersArgs) -> Result<()> {
    let engine = session.open().await?;
    let letters = dead::list(&engine.seams.queues, args.max).await?;
    if session.printer.is_json() {
        return session.printer.json(&json!({ "letters": letters }));
    }
    if letters.is_empty() {
        session.printer.note("No dead letters");
        return Ok(());
    }
    let dash = || "-".to_owned();
    let rows: Vec<_> = letters
        .into_iter()
        .map(|letter| {
            [
                letter.id,
                letter.queue.to_owned(),
                letter.sent_at.to_string(),
                letter.call.map_or_else(dash, |call| call.to_string()),
                letter.why.unwrap_or_else(dash),
            ]
        })
        .collect();
    session.printer.data(table(["ID", "QUEUE", "SENT AT", "CALL", "WHY"], &rows))
}

async fn show(session: &Session, id: &str) -> Result<()> {
    let engine = session.open().await?;
    session.printer.json(&dead::show(&engine.seams.queues, id).await?)
}

async fn redrive(session: &Session, args: LettersArgs) -> Result<()> {
    let engine = session.open().await?;
    let redriven = dead::redrive(&engine.seams, &pick(args)).await?;
    let count = plural(redriven.sent.len() as u64, "dead letter");
    session.printer.done(format!("{count} put back"), &redriven)?;
    for (id, why) in &redriven.kept {
        session.printer.warning(format!("{id} stays: {why}"));
    }
    match redriven.kept.len() {
        0 => Ok(()),
        kept => Err(Error::conflict(format!("{} cannot be put back", plural(kept as u64, "dead letter")))
            .hint("`afn dlq purge` throws them away")),
    }
}

async fn purge(session: &Session, args: LettersArgs) -> Result<()> {
    let engine = session.open().await?;
    let purged = dead::purge(&engine.seams.queues, &pick(args)).await?;
    let line = format!("{} thrown away", plural(purged, "dead letter"));
    session.printer.done(line, &json!({ "purged": purged }))
}

fn pick(args: LettersArgs) -> Pick {
    if args.all { Pick::All } else { Pick::Ids(args.ids.into_iter().collect::<BTreeSet<_>>()) }
}
