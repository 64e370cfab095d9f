//! `afn call`, and how every command submits a single call.

use std::future::Future;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::cli::exit::ExitCode;
use crate::cli::find;
use crate::cli::format::bytes;
use crate::cli::options::FunctionArgs;
use crate::cli::parse::{self, Pair};
use crate::cli::printer::Printer;
use crate::cli::session::Session;
use crate::cli::waiting;
use crate::embedded::Engine;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{AppName, Kind, Route};
use crate::submit::call::{Accepted, Request, submit as submit_call};

#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    #[command(flatten)]
    pub submission: SubmissionArgs,

    /// Wait for an async call too and print its response; with `=30s` no longer than that, then exit 4.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse::duration)]
    pub wait: Option<Option<Duration>>,

    /// Print the call's id on stderr.
    #[arg(long)]
    pub display_call_id: bool,
}

/// The payload: `--data`, `--file`, else stdin when it is not a terminal, else it is empty.
#[derive(Debug, Clone, Default, Args)]
pub struct PayloadArgs {
    /// The payload itself. Without it and --file the payload is all of stdin, unless that is a terminal: a loop like
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

/// A single call.
#[derive(Debug, Clone, Args)]
pub struct SubmissionArgs {
    #[command(flatten)]
    pub function: FunctionArgs,

    #[command(flatten)]
    pub payload: PayloadArgs,

    /// Do not run the call before this has passed, like 30s or 10m; at most 15 minutes.
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub delay: Option<Duration>,

    /// The same key and payload within 24 hours give the same call, also from several submitters at once. Costs one more
    /// write. A repetition sends the call again only when it is older than 90 s and no worker has begun it.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// A hint follows when stdin is silent for this long.
const STDIN_SILENT_MAX: Duration = Duration::from_secs(3);

pub async fn run(session: &Session, args: CallArgs) -> Result<ExitCode> {
    let engine = session.open().await?;
    let printer = &session.printer;
    let app = args.submission.function.app.clone();
    let accepted = submit(printer, &engine, args.submission).await?;
    if args.display_call_id {
        printer.second_answer(format!("Call ID: {}", accepted.call));
    }
    let limit = match (accepted.function.kind, args.wait) {
        (Kind::Async, None) => {
            // Byte for byte as Fn prints it, and a line end.
            printer.line(json!({ "call_id": accepted.call }))?;
            return Ok(ExitCode::Success);
        }
        (_, limit) => limit.flatten(),
    };
    let call = waiting::wait_for_call(printer, &engine.deps, &app, accepted.call, limit).await?;
    waiting::print_response(printer, &engine.deps, &call).await
}

pub async fn submit(printer: &Printer, engine: &Engine, args: SubmissionArgs) -> Result<Accepted> {
    // Look for the function first: nobody should type a payload for one that does not exist.
    let route = find::route(&engine.catalog, &args.function).await?;
    let request = Request {
        delay: args.delay.unwrap_or_default(),
        idempotency_key: args.idempotency_key,
        ..request(printer, args.function.app, route, args.payload).await?
    };
    submit_call(&engine.deps, request).await
}

/// Reads the payload.
pub async fn request(printer: &Printer, app: AppName, route: Route, args: PayloadArgs) -> Result<Request> {
    Ok(Request {
        app,
        route,
        content_type: args.content_type.clone(),
        headers: args.headers.iter().cloned().collect(),
        delay: Duration::ZERO,
        idempotency_key: None,
        payload: read(printer, args).await?,
    })
}

async fn read(printer: &Printer, payload: PayloadArgs) -> Result<Bytes> {
    match (payload.data, payload.file) {
        (Some(data), _) => Ok(data.into()),
        (None, Some(path)) if path.as_os_str() != "-" => {
            let failed = |error: std::io::Error| file_error(&path, &error);
            let file = tokio::fs::File::open(&path).await.map_err(failed)?;
            read_bounded(file).await.map_err(failed)?.ok_or_else(|| too_large(&path.display().to_string()))
        }
        (None, None) if std::io::stdin().is_terminal() => Ok(Bytes::new()),
        (None, _) => {
            let read = with_hint(printer, read_bounded(tokio::io::stdin())).await;
            read.map_err(|error| Error::invalid(format!("read stdin: {error}")))?
                .ok_or_else(|| too_large("stdin"))
        }
    }
}

/// Prints a hint when stdin is silent: a script whose stdin stays open would wait for ever, and not know for what.
async fn with_hint<T>(printer: &Printer, reading: impl Future<Output = T>) -> T {
    let mut reading = std::pin::pin!(reading);
    if let Ok(read) = tokio::time::timeout(STDIN_SILENT_MAX, &mut reading).await {
        return read;
    }
    printer.hint(
        "the payload is being read from stdin; `--data TEXT` gives it here, `< /dev/null` leaves it empty",
    );
    reading.await
}

/// `None` when there is more than a payload may hold.
async fn read_bounded(source: impl AsyncRead + Unpin) -> std::io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    source.take(limits::PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() as u64 <= limits::PAYLOAD_BYTES_MAX).then(|| bytes.into()))
}

fn too_large(source: &str) -> Error {
    Error::invalid(format!("the payload from {source} has more than {}", bytes(limits::PAYLOAD_BYTES_MAX)))
        .with_hint("put it into an object of your own and send its key")
}

fn file_error(path: &Path, error: &std::io::Error) -> Error {
    let text = format!("read {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(text),
        _ => Error::invalid(text),
    }
}
