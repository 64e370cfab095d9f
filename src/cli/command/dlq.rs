//! `afn dlq …`

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::format::{or_dash, plural};
use crate::cli::printer::Printer;
use crate::cli::session::Session;
use crate::embedded::Engine;
use crate::error::{Error, Result};
use crate::submit::dead_letters::{self, DeadLetter, Selection};

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters and why they are dead.
    #[command(visible_alias = "ls")]
    List {
        /// How many dead letters to show at most.
        #[arg(short = 'n', value_name = "COUNT", default_value_t = 100)]
        max: usize,
    },

    /// Show one dead letter whole.
    Show {
        /// The dead letter's id, as the list shows it.
        id: String,
    },

    /// Put dead letters back on their queues.
    Redrive(SelectionArgs),

    /// Delete dead letters. The calls that they point to stay, and `afn gc` finds them.
    Purge(SelectionArgs),
}

#[derive(Debug, Clone, Args)]
pub struct SelectionArgs {
    /// The dead letters' ids, as the list shows them.
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<String>,

    /// Select all dead letters.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

pub async fn run(session: &Session, command: DlqCommand) -> Result<()> {
    let engine = session.open().await?;
    let (queues, printer) = (&engine.deps.queues, &session.printer);
    match command {
        DlqCommand::List { max } => {
            let dead_letters = dead_letters::list(queues, max).await?;
            let record = json!({ "letters": dead_letters });
            let row = |of: DeadLetter| {
                [of.id, of.queue.to_string(), of.sent_at.to_string(), or_dash(of.call), or_dash(of.why)]
            };
            let rows: Vec<_> = dead_letters.into_iter().map(row).collect();
            printer.table(&record, ["ID", "QUEUE", "SENT AT", "CALL", "WHY"], &rows, "No dead letters")
        }
        DlqCommand::Show { id } => printer.json(&dead_letters::show(queues, &id).await?),
        DlqCommand::Redrive(args) => redrive(printer, &engine, args).await,
        DlqCommand::Purge(args) => {
            let purged = dead_letters::purge(queues, &selection(args)).await?;
            let line = format!("{} deleted", plural(purged, "dead letter"));
            printer.done(line, &json!({ "purged": purged }))
        }
    }
}

async fn redrive(printer: &Printer, engine: &Engine, args: SelectionArgs) -> Result<()> {
    let redriven = dead_letters::redrive(&engine.deps, &selection(args)).await?;
    let count = plural(redriven.sent.len() as u64, "dead letter");
    printer.done(format!("{count} put back"), &redriven)?;
    for (id, why) in &redriven.kept {
        printer.warning(format!("{id} stays: {why}"));
    }
    match redriven.kept.len() as u64 {
        0 => Ok(()),
        count => Err(Error::conflict(format!("{} cannot be put back", plural(count, "dead letter")))
            .with_hint("`afn dlq purge` deletes them")),
    }
}

fn selection(args: SelectionArgs) -> Selection {
    if args.all { Selection::All } else { Selection::Ids(args.ids.into_iter().collect::<BTreeSet<_>>()) }
}
