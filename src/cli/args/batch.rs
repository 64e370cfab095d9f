//! Batches: many calls of one function, from one source.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Output;
use super::parse::{self, BatchRef, FunctionRef, Pair};
use crate::layout::batch::{MaxFailures, Then};
use crate::model::{AppName, BatchId, State};
use crate::submit::batch::OnBadRecord;
use crate::submit::source::{Format, Pass};

#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Run a function's folder or a command once for each record of a source, and collect the results.
    ///
    /// Deploys, submits, works and collects in one process. What was done lies in the context's store: killed or
    /// stopped, the batch goes on with `afn batch resume`.
    #[command(visible_alias = "r")]
    Run(Box<BatchRunArgs>),

    /// Submit a source as a batch and print its id; workers run it.
    Submit(BatchSubmitArgs),

    /// Tell how far a batch has come, what it cost, and why it does not move.
    Status(BatchArg),

    /// Watch a batch until it is over.
    Watch(BatchWatchArgs),

    /// Wait until a batch is over; the exit code tells how it ended.
    Wait(BatchWaitArgs),

    /// Cancel a batch: what has not finished, does not.
    Cancel(BatchCancelArgs),

    /// Go on with a batch that stopped: submit the rest, send again what was lost; one of `batch run` is also worked on
    /// and collected, to the file that was named then.
    Resume(BatchResumeArgs),

    /// End a batch whose source ended early with the calls that are stored.
    Seal(BatchArg),

    /// Make a batch of the calls that failed; repeated, it finds the one that was made.
    Retry(BatchRetryArgs),

    /// Write a report: one HTML file with plots of calls, durations, failures and cost.
    Report(BatchReportArgs),

    /// Read the results, one row for each record, in the order of the source.
    Results(BatchResultsArgs),

    /// The batches of an app, newest first.
    #[command(visible_alias = "ls")]
    List(BatchListArgs),
}

/// Where the records come from.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceFlags {
    /// What the records are: jsonl, csv or lines, each also with .gz or .zst; files; objects. By default told from
    /// the suffix; text without a known one is lines.
    #[arg(long, value_name = "FORMAT", value_parser = parse::model::<Format>)]
    pub format: Option<Format>,

    /// Of files and objects: send the content (body, the default), or where it lies (ref), for those over 256 MiB or on a
    /// disk that workers share.
    #[arg(long, value_name = "WHAT", value_parser = parse::model::<Pass>)]
    pub pass: Option<Pass>,

    /// A record that cannot be a call is recorded as failed (record, the default), or ends the batch before it (stop).
    #[arg(long, value_name = "WHAT", value_parser = parse::model::<OnBadRecord>)]
    pub on_bad_record: Option<OnBadRecord>,
}

/// What is done about failures, and what follows.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyFlags {
    /// Try a call that fails so often again, instead of what the function says.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..i64::from(crate::limits::ATTEMPTS_MAX)))]
    pub retries: Option<u32>,

    /// The wait before the second attempt, doubled for each one after; 1s unless the function says otherwise.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub retry_backoff: Option<Duration>,

    /// Stop the batch when so many calls have failed, or so many in a hundred of those that ended (5%). A brake: calls
    /// that run meanwhile may fail too.
    #[arg(long, value_name = "COUNT|PERCENT%", value_parser = parse::max_failures)]
    pub max_failures: Option<MaxFailures>,

    /// Call this function once when the batch is over, with its summary.
    #[arg(long, value_name = "APP/ROUTE", value_parser = parse::then)]
    pub then: Option<Then>,

    /// Post the summary to this URL when the batch is over: at least once, at most 10 tries. The worker that finishes the
    /// batch signs it with its AFN_WEBHOOK_SECRET.
    #[arg(long, value_name = "URL", value_parser = parse::url)]
    pub on_complete: Option<String>,
}

/// How it is told how far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressStyle {
    /// A bar on a terminal, else lines.
    #[default]
    Auto,
    Bar,
    /// A line every few seconds.
    Lines,
    /// A JSON document a line, on stdout.
    Json,
    None,
}

#[derive(Debug, Clone, Args)]
pub struct BatchRunArgs {
    /// The function's folder.
    #[arg(value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,

    /// A command to run for each record instead, in this folder: the payload on stdin, the result on stdout, the exit
    /// code decides.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,

    /// The records: a file, a folder, s3://bucket/prefix, or - for stdin. By default batch.input of DIR's func.yaml.
    #[arg(long, short, value_name = "SOURCE")]
    pub input: Option<String>,

    /// Where the results go: a .jsonl, .csv or .parquet file, a folder that ends in a slash, or - for stdout. Without it
    /// they stay in the store, and `afn batch results` reads them.
    #[arg(id = "output", long, short, value_name = "FILE", value_parser = parse::output)]
    pub output: Option<Output>,

    /// Replace files that exist.
    #[arg(long)]
    pub force: bool,

    /// Calls that run at once; one per CPU by default.
    #[arg(long, short = 'j', visible_alias = "slots", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,

    #[command(flatten)]
    pub source: SourceFlags,

    #[command(flatten)]
    pub policy: PolicyFlags,

    #[command(flatten)]
    pub shape: ShapeFlags,

    /// Write a log of the calls in GNU parallel's columns.
    #[arg(long, value_name = "FILE")]
    pub joblog: Option<PathBuf>,

    /// Write the HTML report too.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Tell how many calls and chunks it would be and what they would cost on AWS; write nothing.
    #[arg(long)]
    pub dry_run: bool,

    #[arg(long, value_enum, default_value_t, value_name = "STYLE", help = PROGRESS)]
    pub progress: ProgressStyle,

    /// The app to work in; by default the one that app.yaml names, else `batch`.
    #[arg(long, value_parser = parse::model::<AppName>)]
    pub app: Option<AppName>,

    /// Run the command in containers of this image, instead of as child processes.
    #[arg(long, conflicts_with_all = ["dir", "build"])]
    pub image: Option<String>,

    /// Build the folder's image and run it in containers, instead of as child processes.
    #[arg(long, requires = "dir")]
    pub build: bool,

    /// The command's own time for one record; 1h by default.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, conflicts_with = "dir")]
    pub timeout: Option<Duration>,

    /// Memory of a container of --image in MiB; 128 by default.
    #[arg(long, short, value_name = "MIB", conflicts_with = "dir")]
    pub memory: Option<u64>,

    /// An environment variable for the command; of yours it gets PATH alone. Repeatable.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse::pair, conflicts_with = "dir")]
    pub config: Vec<Pair>,
}

const PROGRESS: &str = "How progress is shown: bar, lines, json (a document a line on stdout), none";

/// What rows look like.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ShapeFlags {
    /// Give each row its payload too.
    #[arg(long)]
    pub include_input: bool,

    /// Make columns of results that are JSON objects.
    #[arg(long)]
    pub flatten: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BatchSubmitArgs {
    /// The function's app.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// The function's route, like /asyncfn, or its name.
    #[arg(value_name = "ROUTE", value_parser = parse::function)]
    pub function: FunctionRef,

    /// The records: a file, a folder, s3://bucket/prefix, or - for stdin.
    #[arg(value_name = "SOURCE")]
    pub input: String,

    #[command(flatten)]
    pub source: SourceFlags,

    #[command(flatten)]
    pub policy: PolicyFlags,

    /// Tell how many calls and chunks it would be and what they would cost on AWS; write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BatchArg {
    /// The batch's id; `last` is the newest that was submitted from this machine.
    #[arg(value_name = "BATCH", value_parser = parse::batch)]
    pub batch: BatchRef,
}

#[derive(Debug, Clone, Args)]
pub struct BatchWatchArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    #[arg(long, value_enum, default_value_t, value_name = "STYLE", help = PROGRESS)]
    pub progress: ProgressStyle,
}

#[derive(Debug, Clone, Args)]
pub struct BatchWaitArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    /// Give up after this long and exit 4; without it, wait until the batch is over.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Args)]
pub struct BatchCancelArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    /// Why, for whoever wonders later.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct BatchResumeArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    /// The same records, where they lie now.
    #[arg(long, short, value_name = "SOURCE")]
    pub input: Option<String>,

    /// Of a batch of `batch run`: where the results go, instead of what was named then.
    #[arg(id = "output", long, short, value_name = "FILE", value_parser = parse::output)]
    pub output: Option<Output>,

    /// Replace files that exist.
    #[arg(long)]
    pub force: bool,

    /// Calls that run at once, instead of what was named then.
    #[arg(long, short = 'j', visible_alias = "slots", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,

    #[arg(long, value_enum, default_value_t, value_name = "STYLE", help = PROGRESS)]
    pub progress: ProgressStyle,
}

#[derive(Debug, Clone, Args)]
pub struct BatchRetryArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    #[command(flatten)]
    pub policy: PolicyFlags,
}

#[derive(Debug, Clone, Args)]
pub struct BatchReportArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    /// The HTML file; by default BATCH.html in this folder, - is stdout.
    #[arg(id = "output", long, short, value_name = "FILE", value_parser = parse::output)]
    pub output: Option<Output>,

    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BatchResultsArgs {
    #[command(flatten)]
    pub batch: BatchArg,

    /// Where they go: a .jsonl, .csv or .parquet file, or a folder that ends in a slash; by default stdout, as JSON Lines.
    #[arg(id = "output", long, short, value_name = "FILE", value_parser = parse::output)]
    pub output: Option<Output>,

    /// Only rows of this status: success, error, timeout, killed, cancelled. Repeatable.
    #[arg(long, value_name = "STATUS", value_parser = parse::model::<State>)]
    pub status: Vec<State>,

    #[command(flatten)]
    pub shape: ShapeFlags,

    /// Of records that were retried, the outcome of the last retry.
    #[arg(long)]
    pub latest: bool,

    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Args)]
pub struct BatchListArgs {
    /// The app's name.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// Go on after this batch, as the end of an earlier list says.
    #[arg(long, value_name = "BATCH", value_parser = parse::model::<BatchId>)]
    pub cursor: Option<BatchId>,

    /// How many batches to show at most.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = crate::limits::LIST_BATCHES_DEFAULT)]
    pub max: usize,
}
