//! Waiting for a call, and answering with what came of it.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::call_view;
use super::exit::ExitCode;
use super::hint;
use super::printer::Printer;
use super::session::Engine;
use super::signal::interrupted;
use crate::error::{Code, Error, Result};
use crate::model::{AppName, CallId, State};
use crate::results::{self, CallView, body};
use crate::seam::Seams;

/// Waits for the outcome, for ever without a limit, and says meanwhile what it waits for.
pub async fn wait(
    printer: &Printer,
    engine: &Engine,
    app: &AppName,
    call: CallId,
    limit: Option<Duration>,
) -> Result<CallView> {
    let seen = Mutex::new(None);
    let note =
        |view: &CallView| *seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(view.clone());
    tokio::select! {
        biased;
        view = results::call::wait(&engine.seams, app, call, limit, note) => view,
        never = hint::keep_telling(printer, &engine.seams, &seen) => match never {},
        _ = tokio::signal::ctrl_c() => Err(interrupted().hint(format!(
            "the call goes on: `afn wait {app} {call}` waits again, `afn cancel {app} {call}` ends it"
        ))),
    }
}

/// The response of a call that succeeded; for any other, the error that says how it ended.
pub async fn answer(printer: &Printer, seams: &Seams, call: &CallView) -> Result<ExitCode> {
    if call.state != State::Success {
        return Err(failed(call));
    }
    match printer.is_json() {
        true => printer.json(&result_json(seams, call).await?)?,
        false => {
            body::result(seams, call, &mut printer.stdout()).await?;
        }
    }
    Ok(ExitCode::Success)
}

fn failed(call: &CallView) -> Error {
    let code = match call.state {
        State::Cancelled => Code::Stopped,
        _ => Code::CallFailed,
    };
    let reason = call.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let error = Error::new(code, format!("call {} ended in {}{reason}", call.id, call.state));
    match &call.log {
        Some(log) => error.hint(format!(
            "it wrote {}: `afn get logs {} {}`",
            call_view::bytes(log.bytes),
            call.app,
            call.id
        )),
        None => error,
    }
}

/// A result as a JSON document can hold it: as text where it is text, else in Base64.
pub async fn result_json(seams: &Seams, call: &CallView) -> Result<Value> {
    let mut bytes = Vec::new();
    body::result(seams, call, &mut bytes).await?;
    let content_type = call.result.as_ref().and_then(|stored| stored.content_type.clone());
    let mut document =
        json!({ "call_id": call.id, "app": call.app, "content_type": content_type, "bytes": bytes.len() });
    match String::from_utf8(bytes) {
        Ok(text) => document["text"] = text.into(),
        Err(binary) => document["base64"] = base64(binary.as_bytes()).into(),
    }
    Ok(document)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { DIGITS[value as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_rfc_4648_has_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
