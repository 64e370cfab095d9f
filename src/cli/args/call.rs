//! Calls: making, following and ending them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::batch::{PolicyFlags, SourceFlags};
use super::parse::{self, CallOrBatch, FunctionRef, Pair};
use crate::model::AppName;

/// Where a payload comes from: `--data`, `--file`, else stdin when it is not a terminal, else it is empty.
#[derive(Debug, Clone, Default, Args)]
pub struct Payload {
    /// The payload, as it stands here. Without it and --file it is all of stdin, unless that is a terminal: a loop like
    /// `while read x` needs one of them, or `< /dev/null`, to keep its own input.
    #[arg(long, short = 'D', value_name = "TEXT", conflicts_with = "file")]
    pub data: Option<String>,

    /// A file with the payload, `-` for stdin; at most 6 MiB.
    #[arg(long, short, value_name = "PATH")]
    pub file: Option<PathBuf>,

    /// The payload's media type; by default the function's own.
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,

    /// A header that the function gets to see, like `X-Trace: 7`; all of them at most 1 KiB. Repeatable.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = parse::header)]
    pub headers: Vec<Pair>,
}

/// How a call is submitted.
#[derive(Debug, Clone, Default, Args)]
pub struct Submission {
    /// Do not run the call before this has passed, like 30s or 10m; at most 15 minutes.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub delay: Option<Duration>,

    /// The same key and payload within 24 hours give the same call, also from many at once; one more write. A
    /// repetition sends the call again only when it is older than 90 s and no worker has left anything of it.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// The function's app.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// The function's route, like /asyncfn, or its name.
    #[arg(value_name = "ROUTE", value_parser = parse::function)]
    pub function: FunctionRef,

    #[command(flatten)]
    pub payload: Payload,

    #[command(flatten)]
    pub submission: Submission,

    /// Wait for an async call too and print its response; with `=30s` no longer than that, then exit 4.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse::duration)]
    pub wait: Option<Option<Duration>>,

    /// Print the call's id on stderr.
    #[arg(long)]
    pub display_call_id: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// The function's app.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: AppName,

    /// The function's route, like /asyncfn, or its name.
    #[arg(value_name = "ROUTE", value_parser = parse::function)]
    pub function: FunctionRef,

    #[command(flatten)]
    pub payload: Payload,

    #[command(flatten)]
    pub submission: Submission,

    /// Submit a batch instead, a call for each record: of a file, a folder, s3://bucket/prefix, or - for stdin.
    #[arg(
        long,
        value_name = "SOURCE",
        conflicts_with_all = ["data", "file", "content_type", "headers", "delay", "idempotency_key"]
    )]
    pub input: Option<String>,

    #[command(flatten, next_help_heading = "Options of batches")]
    pub source: SourceFlags,

    #[command(flatten, next_help_heading = "Options of batches")]
    pub policy: PolicyFlags,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The function's folder.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,

    /// Build an image and run it in a container; without it, the folder's command is run as a child process.
    #[arg(long)]
    pub image: bool,

    #[command(flatten)]
    pub payload: Payload,
}

/// A call or batch by its id alone; a single call with its app is found in one request, else each app is looked into.
#[derive(Debug, Clone, Args)]
#[command(allow_missing_positional = true)]
pub struct AppAndCall {
    /// The call's app; without it each app is looked into.
    #[arg(value_parser = parse::model::<AppName>)]
    pub app: Option<AppName>,

    /// The id of a call or batch; with its app, `last` or `l` is the newest call.
    #[arg(value_name = "ID", value_parser = parse::call_or_batch, required = true)]
    pub id: CallOrBatch,
}

#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub call: AppAndCall,

    /// Give up after this long and exit 4; without it, wait until it is done.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub timeout: Option<Duration>,
}
