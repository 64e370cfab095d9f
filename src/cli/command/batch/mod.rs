//! `afn batch …`: one file per command.

mod cancel;
mod list;
mod report;
mod results;
mod resume;
mod retry;
mod run;
mod seal;
mod status;
pub mod submit;
mod watch;

use crate::cli::args::BatchCommand;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::signal;
use crate::error::Result;

pub use cancel::cancel;
pub use status::show;
pub use watch::wait_for;

pub async fn run(session: &Session, command: BatchCommand) -> Result<ExitCode> {
    match command {
        // They take signals as a wish to end well.
        BatchCommand::Run(args) => run::run(session, *args).await,
        BatchCommand::Resume(args) => resume::run(session, args).await,
        command => signal::or_interrupted(dispatch(session, command)).await,
    }
}

async fn dispatch(session: &Session, command: BatchCommand) -> Result<ExitCode> {
    let done = match command {
        BatchCommand::Run(_) | BatchCommand::Resume(_) => unreachable!("they are run without a bound above"),
        BatchCommand::Watch(args) => return watch::watch(session, args).await,
        BatchCommand::Wait(args) => return watch::wait(session, args).await,
        BatchCommand::Submit(args) => submit::run(session, args).await,
        BatchCommand::Status(args) => status::run(session, args).await,
        BatchCommand::Cancel(args) => cancel::run(session, args).await,
        BatchCommand::Seal(args) => seal::run(session, args).await,
        BatchCommand::Retry(args) => retry::run(session, args).await,
        BatchCommand::Report(args) => report::run(session, args).await,
        BatchCommand::Results(args) => results::run(session, args).await,
        BatchCommand::List(args) => list::run(session, args).await,
    };
    done.map(|()| ExitCode::Success)
}
