//! Results as OpenAI's batch API gives them, an object a line: `{"id", "custom_id", "response", "error"}`. Calls that did not
//! succeed are in a file of their own, in the same form.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::rows::ResultRow;
use super::jsonl::Body;
use super::{BUFFER_BYTES, RowWriter, answer, failed};
use crate::error::Result;
use crate::model::State;
use crate::model::json_object::one_line;

/// The file of the calls that failed, beside `results.jsonl`: `results.errors.jsonl`.
pub fn errors_path(path: &Path) -> PathBuf {
    let suffix = path.extension().map(|suffix| suffix.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_extension(format!("errors.{suffix}"))
}

pub(super) struct OpenAi<W: Write> {
    responses: BufWriter<W>,
    /// `None`: beside the responses.
    errors: Option<BufWriter<W>>,
}

#[derive(Serialize)]
struct Head<'a> {
    id: String,
    custom_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: State,
    message: &'a str,
}

impl<W: Write> OpenAi<W> {
    pub fn new(responses: W, errors: Option<W>) -> OpenAi<W> {
        let buffer = |out| BufWriter::with_capacity(BUFFER_BYTES, out);
        OpenAi { responses: buffer(responses), errors: errors.map(buffer) }
    }

    fn line(&mut self, row: &ResultRow) -> std::io::Result<()> {
        let out = match (&mut self.errors, row.status) {
            (Some(errors), status) if status != State::Success => errors,
            _ => &mut self.responses,
        };
        let head = Head { id: format!("batch_req_{}", row.call), custom_id: row.key.as_deref() };
        let head = serde_json::to_string(&head)?;
        // Without the brace at its end.
        write!(out, "{}", &head[..head.len() - 1])?;
        if row.status != State::Success {
            let reason = row.outcome.as_ref().and_then(|outcome| outcome.error.as_deref());
            write!(out, ",\"response\":null,\"error\":")?;
            let failure = Failure { code: row.status, message: reason.unwrap_or("no reason was given") };
            serde_json::to_writer(&mut *out, &failure)?;
            return writeln!(out, "}}");
        }
        write!(out, ",\"response\":{{\"status_code\":200,\"request_id\":\"{}\",", row.call)?;
        match answer(row).map(|body| Body::of(body)) {
            None => write!(out, "\"body\":null")?,
            Some(Body::Json(json)) => write!(out, "\"body\":{}", one_line(json))?,
            Some(Body::Text(text)) => {
                write!(out, "\"body\":")?;
                serde_json::to_writer(&mut *out, text)?;
            }
            Some(Body::Binary(bytes)) => {
                use base64::Engine as _;
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
                write!(out, "\"body_base64\":\"{encoded}\"")?;
            }
        }
        writeln!(out, "}},\"error\":null}}")
    }
}

impl<W: Write + Send> RowWriter for OpenAi<W> {
    fn writes_inputs(&self) -> bool {
        false
    }

    /// A call that has not ended has no line.
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        if row.outcome.is_none() {
            return Ok(());
        }
        self.line(row).map_err(failed)
    }

    fn finish(&mut self) -> Result<()> {
        self.responses.flush().map_err(failed)?;
        self.errors.as_mut().map_or(Ok(()), |errors| errors.flush().map_err(failed))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::layout::part::RowResult;
    use crate::results::batch::fixture::{batch_at, row};
    use crate::results::fixture::NOW;

    fn result(number: u64, key: Option<&str>, status: State, body: &'static [u8]) -> ResultRow {
        let mut outcome = row(number, status);
        match status {
            State::Success => outcome.result = RowResult::Inline(Bytes::from_static(body)),
            _ => outcome.error = Some("exit code 3: \"x\"\nnext".to_owned()),
        }
        let call = batch_at(NOW, 1).call(number);
        let key = key.map(str::to_owned);
        ResultRow { number, call, status, outcome: Some(outcome), source: None, key, input: None }
    }

    #[test]
    fn responses_and_errors_are_told_apart() {
        let rows = [
            result(1, Some("r\"1"), State::Success, b"{\"n\":\n1.0}\n"),
            result(2, Some("r2"), State::Error, b""),
            result(3, None, State::Success, b"text"),
            result(4, Some("r4"), State::Success, b"\xff"),
            ResultRow { outcome: None, status: State::Queued, ..result(5, Some("r5"), State::Success, b"") },
        ];
        let (mut responses, mut errors) = (Vec::new(), Vec::new());
        let mut writer = OpenAi::new(&mut responses, Some(&mut errors));
        rows.iter().for_each(|row| writer.row(row).expect("in memory"));
        writer.finish().expect("in memory");
        drop(writer);
        let id = |number: u64| batch_at(NOW, 1).call(number).to_string();
        let first = format!(
            "{{\"id\":\"batch_req_{0}\",\"custom_id\":\"r\\\"1\",\"response\":{{\"status_code\":200,\"request_id\":\"{0}\",\"body\":{{\"n\": 1.0}}}},\"error\":null}}\n",
            id(1)
        );
        let responses = String::from_utf8(responses).expect("text");
        assert!(responses.starts_with(&first), "{responses}");
        let lines: Vec<Value> =
            responses.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[1]["custom_id"], &lines[1]["response"]["body"]), (&Value::Null, &json!("text")));
        assert_eq!(lines[2]["response"]["body_base64"], "/w==");
        let expected = json!({
            "id": format!("batch_req_{}", id(2)),
            "custom_id": "r2",
            "response": null,
            "error": { "code": "error", "message": "exit code 3: \"x\"\nnext" },
        });
        assert_eq!(serde_json::from_slice::<Value>(&errors).expect("one line"), expected);
        assert_eq!(errors_path(Path::new("/a/b.c/out.jsonl")), Path::new("/a/b.c/out.errors.jsonl"));
    }
}
