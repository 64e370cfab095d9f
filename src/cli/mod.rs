//! The `afn` command: reads the command line, puts the engine together, prints what it says. Nothing imports it.

pub mod args;
mod batch;
mod call_view;
mod command;
mod executors;
pub mod exit;
mod find;
mod hint;
mod json;
mod lines;
pub mod memory;
mod printer;
mod session;
mod signal;
mod slip;
mod style;
mod submission;
mod table;
mod traits;
mod waiting;
mod webhook;

use std::io;

use clap::{CommandFactory as _, FromArgMatches as _};

use self::args::Cli;
use self::exit::ExitCode;
use self::printer::Printer;
use self::session::Session;
use crate::context::env;
use crate::error::Error;

/// The one definition of the command line; completions are made from it too.
pub fn definition() -> clap::Command {
    let after = format!("{}\n{}", variables(), ExitCode::table());
    Cli::command().after_help(after.trim_end().to_owned())
}

fn variables() -> String {
    let mut table = String::from("Environment variables:\n");
    let width = env::VARIABLES.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    for variable in env::VARIABLES {
        table.push_str(&format!("  {:width$}  {}\n", variable.name, variable.about));
    }
    table
}

/// The whole life of the process.
pub fn main() -> ExitCode {
    memory::give_back();
    let parsed = definition().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(message) => {
            let message = slip::explained(message, &definition());
            // Help and version that were asked for are answers, the rest is wrong usage; clap knows which stream.
            let _ = message.print();
            return if message.use_stderr() { ExitCode::Usage } else { ExitCode::Success };
        }
    };
    let printer = Printer::new(&cli.global);
    let ended = runtime().map_err(|error| Error::internal(format!("start: {error}"))).and_then(|runtime| {
        let ended = runtime.block_on(command::run(cli.command, Session::new(cli.global, printer.clone())));
        // A read of stdin may still block a thread of its own.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            printer.error(&error);
            error.code().into()
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
