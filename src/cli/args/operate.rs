//! What runs and looks after afn: workers, server, dead letters, garbage.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse;
use crate::context::env;

#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Calls that run at once; one per CPU by default. Each may take its function's memory.
    #[arg(long, short = 'j', visible_alias = "slots", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,

    /// Exit when the queues are dry, instead of waiting for more. A worker serves all apps of its context: what waits of
    /// others is run too.
    #[arg(long)]
    pub drain: bool,

    /// What running calls get after SIGTERM or Ctrl-C before they go back to the queue.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub grace: Option<Duration>,

    /// How long a message is hidden from other workers unless this one extends it, which it does three times as often:
    /// so long do the calls of a lost worker wait. 3s to 1h; 60s by default.
    #[arg(long, hide_short_help = true, value_name = "DURATION", value_parser = parse::visibility)]
    pub visibility: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// The port of the HTTP API on 127.0.0.1; 0 takes a free one.
    #[arg(long, short, env = env::PORT.name, hide_env = true, default_value_t = 8080)]
    pub port: u16,

    /// Calls that run at once; one per CPU by default. Each may take its function's memory.
    #[arg(long, short = 'j', visible_alias = "slots", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,

    /// What running calls get after SIGTERM or Ctrl-C before they go back to the queue.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub grace: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Tell what would be deleted, and do nothing; lost messages are not looked for.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters and why they are dead.
    #[command(visible_alias = "ls")]
    List(ListLettersArgs),

    /// Show one dead letter whole.
    Show {
        /// The letter's id, as the list shows it.
        id: String,
    },

    /// Put dead letters back on their queues.
    Redrive(LettersArgs),

    /// Throw dead letters away. The calls that they point to stay, and `afn gc` finds them.
    Purge(LettersArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ListLettersArgs {
    /// How many letters to show at most.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 100)]
    pub max: usize,
}

#[derive(Debug, Clone, Args)]
pub struct LettersArgs {
    /// The letters' ids, as the list shows them.
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<String>,

    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CompletionArgs {
    /// The shell to complete in.
    pub shell: clap_complete::Shell,
}
