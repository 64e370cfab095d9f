//! A row a line. Written by hand into one buffer: this is the path of millions of rows.
//!
//! What a call answered stands under `result`: as it is where it is JSON, else as a string; bytes that are no text under
//! `result_base64`. The same for `input`.

use std::fmt::Write as _;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;

use super::super::rows::ResultRow;
use super::flatten;
use super::{RowWriter, answer, failed};
use crate::error::Result;

/// Lines are handed on when there are so many bytes of them.
const BUFFER_BYTES: usize = 256 * 1024;

pub struct JsonLines<W: Write> {
    out: W,
    lines: Vec<u8>,
    flatten: bool,
    number: String,
}

impl<W: Write> JsonLines<W> {
    /// `flatten`: members of results that are objects stand beside the other fields instead of under `result`.
    pub fn new(out: W, flatten: bool) -> JsonLines<W> {
        JsonLines { out, lines: Vec::with_capacity(2 * BUFFER_BYTES), flatten, number: String::new() }
    }

    fn raw(&mut self, text: &str) {
        self.lines.extend_from_slice(text.as_bytes());
    }

    fn shown(&mut self, name: &str, value: impl std::fmt::Display) {
        self.number.clear();
        let _ = write!(self.number, "{value}");
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(self.number.as_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        self.raw(name);
        push_text(&mut self.lines, text);
    }

    fn body(&mut self, name: &str, body: &[u8]) {
        let _ = match Body::of(body) {
            Body::Json(json) => {
                let _ = write!(self.lines, ",\"{name}\":");
                // White space only: within its strings JSON has no line ends.
                let line = json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
                self.lines.extend(line);
                Ok(())
            }
            Body::Text(text) => {
                let written = write!(self.lines, ",\"{name}\":");
                push_text(&mut self.lines, text);
                written
            }
            Body::Binary(bytes) => write!(self.lines, ",\"{name}_base64\":\"{}\"", STANDARD.encode(bytes)),
        };
    }

    fn flat(&mut self, body: &[u8]) -> bool {
        let Some(members) = flatten::members(body) else { return false };
        for (name, value) in members {
            self.raw(",");
            push_text(&mut self.lines, &flatten::column(&name));
            self.raw(":");
            // Writing to memory; a value has text keys.
            let _ = serde_json::to_writer(&mut self.lines, &value);
        }
        true
    }

    fn hand_on(&mut self) -> Result<()> {
        self.out.write_all(&self.lines).map_err(failed)?;
        self.lines.clear();
        Ok(())
    }
}

impl<W: Write + Send> RowWriter for JsonLines<W> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        self.shown("{\"number\":", row.number);
        self.shown(",\"call_id\":\"", row.call);
        self.raw("\",\"status\":\"");
        self.raw(row.status.as_str());
        self.raw("\"");
        if let Some(outcome) = &row.outcome {
            self.shown(",\"attempts\":", outcome.attempts);
            self.shown(",\"queued_ms\":", outcome.queued_ms);
            self.shown(",\"start_ms\":", outcome.start_ms);
            self.shown(",\"run_ms\":", outcome.run_ms);
            if let Some(started_at) = outcome.started_at {
                self.shown(",\"started_at\":\"", started_at);
                self.raw("\"");
            }
            self.shown(",\"completed_at\":\"", outcome.completed_at);
            self.text("\",\"worker\":", &outcome.worker);
        }
        if let Some(source) = &row.source {
            self.text(",\"source\":", source);
        }
        if let Some(outcome) = &row.outcome {
            if let Some(body) = answer(row)
                && !(self.flatten && self.flat(body))
            {
                self.body("result", body);
            }
            if let Some(error) = &outcome.error {
                self.text(",\"error\":", error);
            }
        }
        if let Some(record) = &row.input {
            self.body("input", &record.payload);
        }
        self.raw("}\n");
        if self.lines.len() < BUFFER_BYTES { Ok(()) } else { self.hand_on() }
    }

    fn finish(&mut self) -> Result<()> {
        self.hand_on()?;
        self.out.flush().map_err(failed)
    }
}

/// What a body is, as a document can hold it.
pub enum Body<'a> {
    /// Without the white space around it.
    Json(&'a [u8]),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl Body<'_> {
    pub fn of(bytes: &[u8]) -> Body<'_> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Body::Binary(bytes) };
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Body::Json(bytes.trim_ascii()),
            Err(_) => Body::Text(text),
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to memory.
        let _ = serde_json::to_writer(out, text);
    }
}
