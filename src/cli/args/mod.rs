//! The command line, as clap reads it: words, types and help. It holds no logic: what a command does stands in
//! `cli::command`.

mod batch;
mod call;
mod context;
mod function;
mod noun;
mod operate;
mod parse;

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};

pub use batch::{
    BatchArg, BatchCancelArgs, BatchCommand, BatchListArgs, BatchReportArgs, BatchResultsArgs,
    BatchResumeArgs, BatchRetryArgs, BatchRunArgs, BatchSubmitArgs, BatchWaitArgs, BatchWatchArgs,
    PolicyFlags, ProgressStyle, ShapeFlags, SourceFlags,
};
pub use call::{AppAndCall, CallArgs, Payload, RunArgs, Submission, SubmitArgs, WaitArgs};
pub use context::{ContextCommand, CreateContext, NamedContext};
pub use function::{BuildArgs, BuildFlags, BumpArgs, DeployArgs, InitArgs, PushArgs, Traits};
pub use noun::{
    AppArgs, AppChange, CallOfApp, ConfigNoun, CreateNoun, DeleteNoun, FunctionChange, FunctionImage,
    FunctionNamed, GetConfigNoun, GetNoun, InspectNoun, ListCallsArgs, ListConfigNoun, ListNoun, LogsOfCall,
    UnsetNoun, UpdateNoun, UseNoun,
};
pub use operate::{CompletionArgs, DlqCommand, GcArgs, LettersArgs, ListLettersArgs, StartArgs, WorkerArgs};
pub use parse::{BatchRef, CallOrBatch, FunctionRef, Pair, Which};

/// Asynchronous functions on object storage: a bucket, queues and workers.
///
/// A call is written as an object, a pointer to it goes on a queue, a worker runs the function and writes the
/// outcome back. Without any set-up everything lies in one file on this machine.
#[derive(Debug, Parser)]
#[command(name = "afn", version, max_term_width = 100, disable_help_subcommand = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,

    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The context to work in, instead of AFN_CONTEXT and the current one.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub context: Option<String>,

    /// How answers are printed on stdout.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        value_parser = Output::format(),
        help_heading = "Global options"
    )]
    pub output: Output,

    /// Only answers and errors: no progress, no hints, no confirmations.
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,

    /// Tell more on stderr: the context, build logs, requests to store and queues.
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub verbose: bool,
}

/// What `--output` says. Commands that write files take the name of one too: `text` and `json` alone are formats, as
/// everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Output {
    #[default]
    Text,
    Json,
    File(PathBuf),
}

impl Output {
    /// Of commands that write no file.
    fn format() -> impl TypedValueParser<Value = Output> {
        PossibleValuesParser::new([
            PossibleValue::new("text").help("For people"),
            PossibleValue::new("json")
                .help("For programs: one JSON document; an error is the last line on stderr"),
        ])
        .map(|text| Output::of(&text))
    }

    fn of(text: &str) -> Output {
        match text {
            "text" => Output::Text,
            "json" => Output::Json,
            path => Output::File(path.into()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new function in a folder.
    #[command(visible_alias = "in")]
    Init(Box<InitArgs>),

    /// Build a function and publish it in an app.
    #[command(visible_alias = "dp")]
    Deploy(DeployArgs),

    /// Build a function's image without publishing it.
    #[command(hide = true, alias = "bu")]
    Build(BuildArgs),

    /// Push a function's image to its registry.
    #[command(hide = true, alias = "p")]
    Push(PushArgs),

    /// Raise the version in func.yaml.
    #[command(hide = true, alias = "bm")]
    Bump(BumpArgs),

    /// Run a function once, on a store that is thrown away: nothing is deployed, nothing needs to run.
    #[command(visible_alias = "r")]
    Run(RunArgs),

    /// Call a function: an async one answers with the call's id, a sync one with its response.
    #[command(visible_aliases = ["invoke", "cl"])]
    Call(CallArgs),

    /// Submit one call and print its id, whatever the function's type; with --input, a batch.
    Submit(Box<SubmitArgs>),

    /// Tell where a call or batch stands, and why it does not move.
    Status(AppAndCall),

    /// Wait until a call or batch is done; the exit code tells how it ended.
    Wait(WaitArgs),

    /// Cancel a call or batch: what has not finished, does not.
    Cancel(AppAndCall),

    /// Run, submit and follow batches: many calls from a file.
    #[command(visible_alias = "b", subcommand)]
    Batch(BatchCommand),

    /// Read one thing: a call, its result or log, a config value.
    #[command(visible_alias = "g", subcommand)]
    Get(GetNoun),

    /// List apps, functions, calls, config or contexts.
    #[command(visible_alias = "ls", subcommand)]
    List(ListNoun),

    /// Show everything about an app or function.
    #[command(visible_alias = "i", subcommand)]
    Inspect(InspectNoun),

    /// Create an app, a function from an image, or a context.
    #[command(visible_alias = "c", subcommand)]
    Create(CreateNoun),

    /// Change an app or function.
    #[command(visible_alias = "up", subcommand)]
    Update(UpdateNoun),

    /// Delete an app, function or context.
    #[command(visible_alias = "d", subcommand)]
    Delete(DeleteNoun),

    /// Set a config value of an app or function; `list config` shows what is set.
    #[command(visible_alias = "cf", subcommand)]
    Config(ConfigNoun),

    /// Remove a config value of an app or function.
    #[command(visible_alias = "un", subcommand)]
    Unset(UnsetNoun),

    /// Make a context the current one.
    #[command(hide = true, alias = "u", subcommand)]
    Use(UseNoun),

    /// Work with contexts: named stores with their queues.
    #[command(visible_alias = "ctx", subcommand)]
    Context(ContextCommand),

    /// Run calls from the queues until stopped.
    Worker(WorkerArgs),

    /// Run a worker and the HTTP API in one process.
    Start(StartArgs),

    /// Check store, queues, Docker, credentials and clock, and tell what to do.
    Doctor,

    /// Look at, put back or throw away messages that nobody could read.
    #[command(subcommand)]
    Dlq(DlqCommand),

    /// Delete calls that are past their retention, and send again what lost its message.
    Gc(GcArgs),

    /// Print the version.
    Version,

    /// Print a completion script for a shell.
    Completion(CompletionArgs),
}
