//! From a command line to a submitted call.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::args::{FunctionRef, Payload, Submission};
use super::find;
use super::printer::Printer;
use super::session::Engine;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{AppName, Route};
use crate::submit::call::{Accepted, Request, submit as submit_call};

/// How long stdin may say nothing before it is told that it is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn submit(
    printer: &Printer,
    engine: &Engine,
    app: &AppName,
    function: &FunctionRef,
    payload: Payload,
    submission: Submission,
) -> Result<Accepted> {
    // The function first: nobody should type a payload for one that does not exist.
    let route = match function {
        FunctionRef::Route(route) => route.clone(),
        named => find::function(&engine.catalog, app, named).await?.route,
    };
    let request = request(printer, app.clone(), route, payload, submission).await?;
    submit_call(&engine.seams, request).await
}

pub async fn request(
    printer: &Printer,
    app: AppName,
    route: Route,
    payload: Payload,
    submission: Submission,
) -> Result<Request> {
    let headers: BTreeMap<String, String> =
        payload.headers.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    Ok(Request {
        app,
        route,
        content_type: payload.content_type.clone(),
        headers,
        delay: submission.delay.unwrap_or_default(),
        idempotency_key: submission.idempotency_key,
        payload: read(printer, payload).await?,
    })
}

async fn read(printer: &Printer, payload: Payload) -> Result<Bytes> {
    match (payload.data, payload.file) {
        (Some(data), _) => Ok(data.into()),
        (None, Some(path)) if path.as_os_str() != "-" => {
            let failed = |error: std::io::Error| file_error(&path, &error);
            let file = tokio::fs::File::open(&path).await.map_err(failed)?;
            bounded(file).await.map_err(failed)?.ok_or_else(|| too_large(&path.display().to_string()))
        }
        (None, None) if std::io::stdin().is_terminal() => Ok(Bytes::new()),
        (None, _) => {
            let read = patient(printer, bounded(tokio::io::stdin())).await;
            read.map_err(|error| Error::invalid(format!("read stdin: {error}")))?
                .ok_or_else(|| too_large("stdin"))
        }
    }
}

/// A script whose stdin stays open would wait for ever, and not know for what.
async fn patient<T>(printer: &Printer, reading: impl Future<Output = T>) -> T {
    let mut reading = std::pin::pin!(reading);
    if let Ok(read) = tokio::time::timeout(PATIENCE, &mut reading).await {
        return read;
    }
    printer.hint(
        "the payload is being read from stdin; `--data TEXT` gives it here, `< /dev/null` leaves it empty",
    );
    reading.await
}

/// `None` when there is more than a payload may have.
async fn bounded(source: impl AsyncRead + Unpin) -> std::io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    source.take(limits::PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() as u64 <= limits::PAYLOAD_BYTES_MAX).then(|| bytes.into()))
}

fn too_large(source: &str) -> Error {
    let most = super::call_view::bytes(limits::PAYLOAD_BYTES_MAX);
    Error::invalid(format!("the payload from {source} has more than {most}"))
        .hint("put it into an object of your own and send its key")
}

fn file_error(path: &Path, error: &std::io::Error) -> Error {
    let text = format!("read {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(text),
        _ => Error::invalid(text),
    }
}
