//! The `afn` command: reads the command line, puts the engine together, prints its answers. Nothing imports it.

mod batch;
mod command;
pub mod exit;
mod find;
mod format;
mod init;
mod log;
mod options;
mod parse;
mod printer;
mod session;
mod signal;
mod suggestion;
mod text;
mod view;
mod waiting;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use self::command::Command;
use self::exit::ExitCode;
use self::options::Global;
use self::printer::Printer;
use self::session::Session;
use crate::context::env;
use crate::embedded::memory;
use crate::error::Error;

/// Asynchronous functions on object storage: a bucket, queues and workers.
///
/// A call is written as an object, a pointer to it goes on a queue, a worker runs the function and writes the
/// outcome back. Without any set-up everything is stored in one file on this machine.
#[derive(Debug, Parser)]
#[command(name = "afn", version, max_term_width = 100, disable_help_subcommand = false)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// The definition of the command line; completions are made from it too.
fn definition() -> clap::Command {
    let after = format!("{}\n{}", variables(), ExitCode::table());
    Cli::command().after_help(after.trim_end().to_owned())
}

fn variables() -> String {
    let width = env::VARIABLES.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    let line = |variable: &env::Variable| format!("  {:width$}  {}\n", variable.name, variable.about);
    format!("Environment variables:\n{}", env::VARIABLES.iter().map(line).collect::<String>())
}

/// What clap says of the command line, which it repeats as it is. A script may have arguments from elsewhere: so they are made
/// visible first.
fn usage_error() -> clap::Error {
    let args = std::env::args_os().map(|arg| text::visible(&arg.to_string_lossy()));
    let parsed = definition().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let unseen =
        || definition().error(ErrorKind::ValueValidation, "an argument has characters that cannot be seen");
    parsed.err().unwrap_or_else(unseen)
}

/// Runs the process.
pub fn main() -> ExitCode {
    init::wait_if_first();
    memory::give_back();
    let parsed = definition().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(_) => {
            let message = usage_error();
            let message = suggestion::with_suggestions(message, &definition());
            // Help and version that were asked for go to stdout, wrong usage to stderr; clap knows which.
            let _ = message.print();
            return if message.use_stderr() { ExitCode::Usage } else { ExitCode::Success };
        }
    };
    let printer = Printer::new(&cli.global, cli.command.log_format());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(|error| Error::internal(format!("start: {error}"))).and_then(|runtime| {
        let ended = runtime.block_on(command::run(cli.command, Session::new(cli.global, printer.clone())));
        // A thread may still block in a read of stdin: do not wait for it.
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
