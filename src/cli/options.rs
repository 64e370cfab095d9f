//! Arguments that several commands share, with their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::parse::{self, CallOrBatch, FunctionRef, Output, Pair, Reference};
use super::view::Values;
use crate::context::env;
use crate::embedded::{AllowedImages, Choice, ExecutorChoice, FunctionUids, MachineSecrets, WebhookAllow};
use crate::error::{Error, Result};
use crate::layout::batch::{MaxFailures, Then};
use crate::limits::ATTEMPTS_MAX;
use crate::model::{
    self, AppName, BatchId, BatchLimits, BucketName, IndexRange, Kind, Rate, Region, Retention,
};
use crate::results::export::{CsvText, RowForm};
use crate::submit::batch::OnBadRecord;
use crate::submit::source::{Delimiter, Format, Pass};

/// Arguments of every command.
#[derive(Debug, Clone, Args)]
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

    /// Write results and logs to a terminal as they are. By default control characters in them are made visible there; a pipe
    /// or a file always gets them byte for byte.
    #[arg(long, global = true, help_heading = "Global options")]
    pub raw: bool,
}

/// How the log of a worker is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LogFlags {
    /// How the log on stderr is written: text, or json (an object a line, with time, level, event, app, call, batch,
    /// worker where they apply, and message).
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", hide_possible_values = true)]
    pub log_format: LogFormat,
}

/// Arguments of a worker process, with or without the HTTP API.
#[derive(Debug, Clone, Args)]
pub struct WorkerFlags {
    /// Calls that run at once; one per CPU by default. Each may take its function's memory.
    #[arg(long, short = 'j', visible_alias = "slots", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,

    /// What functions run in: docker (containers alone), process (child processes alone, as the worker's user; where that is
    /// root, each as another user), or auto: both in a local context, docker elsewhere.
    #[arg(
        long,
        env = env::EXECUTOR.name,
        hide_env = true,
        value_name = "EXECUTOR",
        default_value = "auto",
        hide_default_value = true
    )]
    pub executor: ExecutorChoice,

    /// Where the worker is root: the user ids that functions without an image run as, each process as another one. `none`
    /// runs them as root. Without this flag AFN_FUNCTION_UIDS counts, else 2013265920-2147483646.
    #[arg(long, hide_short_help = true, value_name = "FIRST-LAST")]
    pub function_uids: Option<FunctionUids>,

    /// The repositories whose images this worker fetches and runs, like `registry.example.com/team/*`: all by default. May be
    /// given several times; `*` stops at a slash, and what lies below a match is allowed too.
    #[arg(long, hide_short_help = true, value_name = "PATTERN", num_args = 1..)]
    pub allow_images: Vec<String>,

    /// Give functions this variable of the worker's environment when their config is env:NAME. Repeatable. Whoever may
    /// deploy can read it. In a local context, all variables unless some are named.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub allow_env: Vec<String>,

    /// Give functions this file, or any file in this folder, when their config is file:/PATH. Repeatable. Whoever may
    /// deploy can read it. In a local context, all files unless some are named.
    #[arg(long, value_name = "PATH", hide_short_help = true, value_parser = parse::existing)]
    pub allow_file: Vec<PathBuf>,

    /// Read objects of this bucket for batches that name them (`--pass fetch`), with the worker's own keys. Repeatable. The
    /// context's bucket is always read. Without this flag AFN_DATA_BUCKETS counts.
    #[arg(
        long = "data-bucket",
        value_name = "NAME",
        env = env::DATA_BUCKETS.name,
        hide_env = true,
        value_delimiter = ','
    )]
    pub data_buckets: Vec<BucketName>,

    /// How long running calls may go on after SIGTERM or Ctrl-C, before they go back to the queue. 25s by default.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub grace: Option<Duration>,

    /// Post webhooks of batches also to this host or network, by http too: hooks.internal, 10.0.0.0/8. Repeatable. Without it they
    /// go to public addresses over https; in a local context to this machine too.
    #[arg(long, value_name = "HOST|CIDR")]
    pub webhook_allow: Vec<WebhookAllow>,

    #[command(flatten)]
    pub log: LogFlags,
}

impl WorkerFlags {
    pub fn choice(&self) -> Result<Choice> {
        let images = AllowedImages::new(&self.allow_images)
            .map_err(|why| Error::invalid(format!("--allow-images: {why}")))?;
        let secrets = MachineSecrets { variables: self.allow_env.clone(), files: self.allow_file.clone() };
        Ok(Choice { executor: self.executor, function_uids: self.function_uids, images, secrets })
    }
}

/// What a command is about: an app, or a function of it.
#[derive(Debug, Clone, Subcommand)]
pub enum AppOrFunction<A: Args, F: Args> {
    /// An app.
    #[command(visible_aliases = ["apps", "a"])]
    App(A),

    /// A function of an app.
    #[command(visible_aliases = ["functions", "fn", "f", "route", "routes", "r"])]
    Function(F),
}

#[derive(Debug, Clone, Args)]
pub struct AppArgs {
    /// The app's name.
    pub app: AppName,
}

/// An app or function whose config is shown.
#[derive(Debug, Clone, Args)]
pub struct Shown<T: Args> {
    #[command(flatten)]
    pub of: T,

    /// Show config values, instead of *** for those that are no references to secrets.
    #[arg(long)]
    pub reveal: bool,
}

impl<T: Args> Shown<T> {
    pub fn values(&self) -> Values {
        if self.reveal { Values::Revealed } else { Values::Masked }
    }
}

#[derive(Debug, Clone, Args)]
pub struct FunctionArgs {
    /// The function's app.
    pub app: AppName,

    /// The function's route, like /asyncfn, or its name.
    #[arg(value_name = "ROUTE")]
    pub function: FunctionRef,
}

/// A call or batch. A call whose app is known takes one request to find, else each app takes one.
#[derive(Debug, Clone, Args)]
#[command(allow_missing_positional = true)]
pub struct CallOrBatchArgs {
    /// The call's app; without it, all apps are searched.
    pub app: Option<AppName>,

    /// The id of a call or batch; with its app, `last` or `l` is the newest call.
    #[arg(value_name = "ID", required = true)]
    pub id: CallOrBatch,
}

#[derive(Debug, Clone, Args)]
pub struct BatchArgs {
    /// The batch's id; `last` is the newest that was submitted from this machine.
    #[arg(value_name = "BATCH")]
    pub batch: Reference<BatchId>,
}

/// Where the records come from.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceFlags {
    /// The format of the records: jsonl, json, openai, csv, tsv or lines, each also with .gz, .zst, .bz2 or .xz; parquet; files; objects. By
    /// default it follows from the suffix; text without a known suffix is lines. A compression is also found without.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// What separates the fields of a CSV: one character, or `tab`. By default a comma; in a header without a comma, a
    /// semicolon or tab.
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<Delimiter>,

    /// The field of each record that names it: its key, a text or number that no other record has. Rows echo it as `key`, and
    /// `afn get call BATCH --key K` finds the call. `--format openai` takes `custom_id`.
    #[arg(long, value_name = "FIELD")]
    pub key: Option<String>,

    /// What a call gets of a file or object: the content, which the worker reads from the bucket (fetch, the default for
    /// objects) or which is copied into the batch (body, the default for files); or its location (ref), for those over 256 MiB
    /// or on a disk that workers share.
    #[arg(long, value_name = "WHAT")]
    pub pass: Option<Pass>,

    /// The region of an s3:// source, if it is not the context's. Workers read the objects there too.
    #[arg(long, value_name = "REGION")]
    pub source_region: Option<Region>,

    /// A profile of the AWS files that may read an s3:// source, if it is not the context's. `batch run` reads the objects
    /// with it too; other workers have keys of their own.
    #[arg(long, value_name = "NAME")]
    pub source_profile: Option<String>,

    /// A record that cannot be a call is recorded as failed (record, the default), or ends the batch before it (stop).
    #[arg(long, value_name = "WHAT")]
    pub on_bad_record: Option<OnBadRecord>,

    /// A source without records is an error. By default it is a batch of 0 calls.
    #[arg(long)]
    pub fail_if_empty: bool,
}

/// A batch without records: an array of calls.
#[derive(Debug, Clone, Default, Args)]
pub struct ArrayFlags {
    /// Run one call for each index of this range, like 0-9999, 1-99:2 or 0,5,10-12, instead of records. The index is the
    /// payload. Commands get AFN_NUMBER (from 1) and AFN_COUNT in their environment.
    #[arg(long, value_name = "RANGE", conflicts_with = "input")]
    pub array: Option<IndexRange>,

    /// The environment variable that a script reads its index from, like SLURM_ARRAY_TASK_ID, AWS_BATCH_JOB_ARRAY_INDEX or
    /// JOB_COMPLETION_INDEX.
    #[arg(long, value_name = "NAME", requires = "array")]
    pub index_env: Option<String>,
}

/// What happens when calls fail, and when the batch ends.
#[derive(Debug, Clone, Default, Args)]
pub struct PolicyFlags {
    /// Retry a call that fails up to this many times, instead of what the function's definition says.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..i64::from(ATTEMPTS_MAX)))]
    pub retries: Option<u32>,

    /// The wait before the second attempt, doubled for each one after; 1s unless the function says otherwise.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub retry_backoff: Option<Duration>,

    /// Cancel the batch when this many calls have failed, or this share of those that ended (5%). Calls that run
    /// meanwhile may fail too.
    #[arg(long, value_name = "COUNT|PERCENT%", value_parser = parse::max_failures)]
    pub max_failures: Option<MaxFailures>,

    #[command(flatten)]
    pub limits: LimitFlags,

    /// Call this function once when the batch is over, with its summary.
    #[arg(long, value_name = "APP/ROUTE", value_parser = parse::then)]
    pub then: Option<Then>,

    /// Keep payloads, results and logs so long after the end, like 30d, instead of what the app says; `never` deletes them
    /// only on request.
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Retention>,

    /// Post the summary to this URL when the batch is over: at least once, at most 10 tries. The worker that finishes the
    /// batch signs it with its AFN_WEBHOOK_SECRET, and posts to public addresses over https; `afn worker --webhook-allow`
    /// allows more.
    #[arg(long, value_name = "URL", value_parser = parse::webhook_url)]
    pub on_complete: Option<String>,
}

/// How much of a batch may run at once, on all workers together.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LimitFlags {
    /// Run at most this many calls of the batch at once, on all workers together.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub max_concurrency: Option<u32>,

    /// Start calls of the batch at most this often, on all workers together: 20/s, 90/m, 500/h.
    #[arg(long, value_name = "RATE")]
    pub max_rate: Option<Rate>,
}

impl From<LimitFlags> for BatchLimits {
    fn from(flags: LimitFlags) -> BatchLimits {
        BatchLimits { concurrency_max: flags.max_concurrency, rate_max: flags.max_rate }
    }
}

/// The columns of rows.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ShapeFlags {
    /// Add the payload to each row.
    #[arg(long)]
    pub include_input: bool,

    /// Give each key of results that are JSON objects its own column, and with --include-input each key of payloads too (`input.KEY`).
    /// No digit of a number changes.
    #[arg(long)]
    pub flatten: bool,

    /// Text in CSV that a spreadsheet would run as a formula: behind an apostrophe (escaped, the default), or as it is (raw).
    #[arg(long, value_name = "TEXT", default_value = "escaped", hide_default_value = true)]
    pub csv: CsvText,

    /// What a row looks like: rows (the default), or openai: lines of OpenAI's batch API, of the calls that succeeded in FILE.jsonl
    /// and of the others in FILE.errors.jsonl. It needs records with keys.
    #[arg(
        long = "as",
        value_name = "FORM",
        default_value = "rows",
        hide_default_value = true,
        conflicts_with_all = ["flatten", "include_input"]
    )]
    pub form: RowForm,
}

/// How this process works on a batch.
#[derive(Debug, Clone, Copy, Args)]
pub struct WorkFlags {
    /// Replace files that exist.
    #[arg(long)]
    pub force: bool,

    /// Calls that run at once; one per CPU by default. A resume keeps the number of the run.
    #[arg(long, short = 'j', visible_alias = "slots", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,

    #[command(flatten)]
    pub progress: ProgressFlags,

    #[command(flatten)]
    pub log: LogFlags,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct ProgressFlags {
    /// How progress is shown: bar, lines, json (a document a line on stdout), none.
    #[arg(long, value_enum, default_value_t, value_name = "STYLE")]
    pub progress: ProgressStyle,
}

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

/// A function's settings. Those that are not given keep their default or present value.
#[derive(Debug, Clone, PartialEq, Default, Args)]
pub struct FunctionFlags {
    /// Memory of a container in MiB, 6 to 65536; 128 by default. More memory means fewer calls at once on a worker.
    #[arg(long, short, value_name = "MIB")]
    pub memory: Option<u64>,

    /// Whether callers wait for the response: sync (the default) or async.
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    pub kind: Option<Kind>,

    /// A config value, given to the function as an environment variable. Repeatable. KEY=@FILE reads it from a file, KEY=-
    /// from stdin, KEY alone takes it from the environment.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse::config)]
    pub config: Vec<Pair>,

    /// The protocol between afn and the container: default (stdin to stdout, a process per call) or http-stream (Fn's FDKs).
    #[arg(long, short, value_name = "FORMAT")]
    pub format: Option<model::Format>,

    /// How long one call may run, 1s to 5h; 30s by default. Queueing, pulling and starting do not count.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub timeout: Option<Duration>,

    /// How long a container is kept hot after a call, up to 1h; 30s by default. It holds its memory meanwhile.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub idle_timeout: Option<Duration>,

    /// An annotation, its value JSON or plain text. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    pub annotation: Vec<Pair>,
}
