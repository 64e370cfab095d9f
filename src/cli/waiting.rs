//! Waits for a call or batch, and explains meanwhile why it does not move. Prints what came of a call.

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::exit::ExitCode;
use super::format::bytes;
use super::printer::Printer;
use super::signal::interrupted;
use crate::error::{Code, Error, Result};
use crate::model::{AppName, BatchId, CallId, State};
use crate::results::batch::ProgressReport;
use crate::results::why::{why, why_batch};
use crate::results::{self, BatchView, CallView, body};
use crate::seam::Deps;

/// The first explanation comes after this long.
const EXPLAIN_AFTER: Duration = Duration::from_secs(2);
const EXPLAIN_AGAIN_MIN: Duration = Duration::from_secs(10);
const EXPLAIN_AGAIN_MAX: Duration = Duration::from_secs(300);

/// Waits for the outcome, for ever without a limit.
pub async fn wait_for_call(
    printer: &Printer,
    deps: &Deps,
    app: &AppName,
    call: CallId,
    limit: Option<Duration>,
) -> Result<CallView> {
    let (seen, _) = watch::channel(None);
    let note = |view: &CallView| _ = seen.send_replace(Some(view.clone()));
    let explanation = async || {
        let view = seen.borrow().clone();
        (explain_call(deps, view).await, EXPLAIN_AGAIN_MIN)
    };
    tokio::select! {
        biased;
        view = results::call::wait(deps, app, call, limit, note) => view,
        never = keep_explaining(printer, deps, explanation) => match never {},
        _ = tokio::signal::ctrl_c() => Err(interrupted().with_hint(format!(
            "the call goes on: `afn wait {app} {call}` waits again, `afn cancel {app} {call}` ends it"
        ))),
    }
}

pub async fn wait_for_batch(
    printer: &Printer,
    deps: &Deps,
    batch: BatchId,
    limit: Option<Duration>,
) -> Result<BatchView> {
    let (seen, _) = watch::channel(None);
    let note = |look: &ProgressReport| _ = seen.send_replace(Some(look.view.clone()));
    tokio::select! {
        biased;
        ended = results::batch::wait(deps, batch, limit, note) => ended,
        never = explain_batch(printer, deps, &seen) => match never {},
    }
}

/// Prints during a wait why nothing moves, whenever the explanation changes. Never returns.
async fn keep_explaining(
    printer: &Printer,
    deps: &Deps,
    mut explanation: impl AsyncFnMut() -> (Option<String>, Duration),
) -> Infallible {
    let mut last = None;
    deps.clock.sleep(EXPLAIN_AFTER).await;
    loop {
        let (explanation, pause) = explanation().await;
        if let Some(text) = explanation.as_ref().filter(|_| explanation != last) {
            printer.hint(text);
        }
        last = explanation.or(last);
        deps.clock.sleep(pause).await;
    }
}

/// Errors are ignored: the wait itself fails of the same cause.
async fn explain_call(deps: &Deps, call: Option<CallView>) -> Option<String> {
    // A call that runs needs no explanation.
    let call = call.filter(|call| call.state != State::Running || call.failed_last().is_some())?;
    let why = why(deps, &call).await.ok().flatten()?;
    Some(match call.state {
        // The reason begins with the state.
        State::Delayed => format!("{} is {why}", call.id),
        state => format!("{} is {state}: {why}", call.id),
    })
}

/// Prints why a batch does not move, once no call of it has ended for a while. Never returns.
pub async fn explain_batch(
    printer: &Printer,
    deps: &Deps,
    seen: &watch::Sender<Option<BatchView>>,
) -> Infallible {
    let (mut decided, mut pause) = (None, EXPLAIN_AGAIN_MIN);
    let explanation = async || {
        let Some(view) = seen.borrow().clone() else { return (None, pause) };
        let is_stuck = decided.replace(view.decided) == Some(view.decided);
        // A reason may contain how long it lasts, and so change each time: it is printed ever more seldom.
        pause = if is_stuck { (2 * pause).min(EXPLAIN_AGAIN_MAX) } else { EXPLAIN_AGAIN_MIN };
        let why = match is_stuck || view.decided == 0 {
            true => why_batch(deps, &view).await.ok().flatten(),
            false => None,
        };
        (why.map(|why| format!("{} is {}: {why}", view.batch, view.status)), pause)
    };
    keep_explaining(printer, deps, explanation).await
}

/// Prints the response of a call that succeeded. Any other call is an error that says how it ended.
pub async fn print_response(printer: &Printer, deps: &Deps, call: &CallView) -> Result<ExitCode> {
    if call.state != State::Success {
        return Err(failure(call));
    }
    print_result(printer, deps, call).await?;
    Ok(ExitCode::Success)
}

fn failure(call: &CallView) -> Error {
    let code = match call.state {
        State::Cancelled => Code::Stopped,
        _ => Code::CallFailed,
    };
    let CallView { id, app, state, .. } = call;
    let reason = call.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let error = Error::new(code, format!("call {id} ended in {state}{reason}"));
    match &call.log {
        Some(log) => error.with_hint(format!("it wrote {}: `afn get logs {app} {id}`", bytes(log.bytes))),
        None => error,
    }
}

/// Prints a result byte for byte; for programs as a document that holds it as text where it is text, else in Base64.
pub async fn print_result(printer: &Printer, deps: &Deps, call: &CallView) -> Result<()> {
    if !printer.is_json() {
        return body::result(deps, call, &mut printer.stdout()).await.map(|_| ());
    }
    let mut bytes = Vec::new();
    body::result(deps, call, &mut bytes).await?;
    let content_type = call.result.as_ref().and_then(|stored| stored.content_type.clone());
    let mut record: Value =
        json!({ "call_id": call.id, "app": call.app, "content_type": content_type, "bytes": bytes.len() });
    match String::from_utf8(bytes) {
        Ok(text) => record["text"] = text.into(),
        Err(binary) => record["base64"] = BASE64_STANDARD.encode(binary.as_bytes()).into(),
    }
    printer.json(&record)
}
