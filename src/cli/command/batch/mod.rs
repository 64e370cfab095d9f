//! `afn batch …`: the commands that only batches have. Commands that calls have too are in the files of those.

use clap::Subcommand;

use crate::cli::command::batch::control::BatchLimitArgs;
use crate::cli::command::batch::report::BatchReportArgs;
use crate::cli::command::batch::results::BatchResultsArgs;
use crate::cli::command::batch::resume::BatchResumeArgs;
use crate::cli::command::batch::retry::BatchRetryArgs;
use crate::cli::command::batch::run::BatchRunArgs;
use crate::cli::command::cancel::{self, BatchCancelArgs};
use crate::cli::command::erase;
use crate::cli::command::list::{self, BatchListArgs};
use crate::cli::command::status;
use crate::cli::command::submit::{self, BatchSubmitArgs};
use crate::cli::command::wait::{self, BatchWaitArgs, BatchWatchArgs};
use crate::cli::exit::ExitCode;
use crate::cli::options::BatchArgs;
use crate::cli::session::Session;
use crate::error::Result;

mod control;
mod report;
mod results;
mod resume;
mod retry;
mod run;

#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Run a function's folder or a command once for each record of a source, and collect the results.
    ///
    /// Deploys, submits, works and collects in one process. All progress is in the context's store: after a kill or a
    /// stop, `afn batch resume` continues the batch.
    #[command(visible_alias = "r")]
    Run(Box<BatchRunArgs>),

    /// Submit a source as a batch and print its id; workers run it.
    Submit(BatchSubmitArgs),

    /// Show the progress of a batch, its cost, and why it does not move.
    Status(BatchArgs),

    /// Watch a batch until it is over.
    Watch(BatchWatchArgs),

    /// Wait until a batch is over; the exit code shows how it ended.
    Wait(BatchWaitArgs),

    /// Cancel a batch: calls that have not finished are stopped.
    Cancel(BatchCancelArgs),

    /// Let nothing more of a batch begin; what runs ends as usual.
    Pause(BatchArgs),

    /// Let a batch that was paused go on.
    Unpause(BatchArgs),

    /// Change how much of a batch may run at once, and how fast its calls start. It holds for what begins from then on.
    Limit(BatchLimitArgs),

    /// Continue a batch that stopped: submit the rest, send lost messages again. A batch of `batch run` is also worked on
    /// and collected, to the file that was named then.
    Resume(BatchResumeArgs),

    /// End a batch whose source ended early with the calls that are stored.
    Seal(BatchArgs),

    /// Make a batch of the calls that failed or were cancelled. Repeated, it goes on with the batch that was made. It runs the
    /// function's current version, with the retries, limits and retention of the first batch unless you give others. Give
    /// --max-failures, --then and --on-complete again if you want them. For a batch of `batch run` it also works, waits, and writes
    /// the run's output again, with what the retry changed.
    Retry(BatchRetryArgs),

    /// Write a report: one HTML file with plots of calls, durations, failures and cost.
    Report(BatchReportArgs),

    /// Read the results, one row for each record, in the order of the source.
    Results(BatchResultsArgs),

    /// Delete the content of a batch at once: payloads, results, logs. One that runs is cancelled first, and its end is
    /// waited for. Its summary stays for about two weeks.
    Delete(BatchArgs),

    /// The batches of an app, newest first.
    #[command(visible_alias = "ls")]
    List(BatchListArgs),
}

pub async fn run(session: &Session, command: BatchCommand) -> Result<ExitCode> {
    let done = match command {
        BatchCommand::Run(args) => return run::run(session, *args).await,
        BatchCommand::Resume(args) => return resume::run(session, args).await,
        BatchCommand::Retry(args) => return retry::run(session, args).await,
        BatchCommand::Watch(args) => return wait::watch(session, args).await,
        BatchCommand::Wait(args) => return wait::batch(session, args).await,
        BatchCommand::Submit(args) => submit::batch(session, args).await,
        BatchCommand::Status(args) => status::batch(session, args).await,
        BatchCommand::Cancel(args) => cancel::batch(session, args).await,
        BatchCommand::Pause(args) => control::pause(session, args).await,
        BatchCommand::Unpause(args) => control::unpause(session, args).await,
        BatchCommand::Limit(args) => control::limit(session, args).await,
        BatchCommand::Seal(args) => resume::seal(session, args).await,
        BatchCommand::Report(args) => report::run(session, args).await,
        BatchCommand::Results(args) => results::run(session, args).await,
        BatchCommand::Delete(args) => erase::batch(session, args).await,
        BatchCommand::List(args) => list::batches(session, args).await,
    };
    done.map(|()| ExitCode::Success)
}
