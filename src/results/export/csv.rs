//! A table of text, as RFC 4180 has it: a header, fields quoted where they must be.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::rows::ResultRow;
use super::flatten::{self, Columns};
use super::{Beside, RowWriter, answer, failed};
use crate::error::Result;

const BUFFER_BYTES: usize = 256 * 1024;
const FIXED: [&str; 10] = [
    "number",
    "call_id",
    "status",
    "attempts",
    "queued_ms",
    "start_ms",
    "run_ms",
    "started_at",
    "completed_at",
    "worker",
];

pub struct Csv<W: Write> {
    out: W,
    lines: Vec<u8>,
    beside: Beside,
    columns: Option<Columns>,
    field: String,
}

impl<W: Write> Csv<W> {
    /// `columns`: of the members of results that are objects; those results are not in `result` then.
    pub fn new(out: W, beside: Beside, columns: Option<Columns>) -> Result<Csv<W>> {
        let lines = Vec::with_capacity(2 * BUFFER_BYTES);
        let mut csv = Csv { out, lines, beside, columns, field: String::new() };
        let flat = csv.columns.iter().flat_map(Columns::names).map(str::to_owned);
        let mut header = FIXED.map(str::to_owned).to_vec();
        header.extend(beside.source.then(|| "source".to_owned()));
        header.extend(flat);
        header.extend(["result", "result_base64", "error"].map(str::to_owned));
        if beside.input {
            header.extend(["input", "input_base64"].map(str::to_owned));
        }
        for name in header {
            csv.text(&name);
        }
        csv.end_line();
        Ok(csv)
    }

    fn text(&mut self, text: &str) {
        let must_be_quoted = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
        let bytes = text.as_bytes();
        if bytes.iter().any(must_be_quoted) || text.starts_with(' ') || text.ends_with(' ') {
            self.lines.push(b'"');
            for byte in bytes {
                self.lines.extend_from_slice(if *byte == b'"' {
                    b"\"\""
                } else {
                    std::slice::from_ref(byte)
                });
            }
            self.lines.push(b'"');
        } else {
            self.lines.extend_from_slice(bytes);
        }
        self.lines.push(b',');
    }

    fn shown(&mut self, value: impl std::fmt::Display) {
        use std::fmt::Write as _;
        let mut field = std::mem::take(&mut self.field);
        field.clear();
        let _ = write!(field, "{value}");
        self.text(&field);
        self.field = field;
    }

    fn maybe(&mut self, value: Option<impl std::fmt::Display>) {
        match value {
            Some(value) => self.shown(value),
            None => self.lines.push(b','),
        }
    }

    /// Two fields, of which one has the bytes.
    fn body(&mut self, body: Option<&[u8]>) {
        match body.map(|body| std::str::from_utf8(body).map_err(|_| body)) {
            None => self.lines.extend_from_slice(b",,"),
            Some(Ok(text)) => {
                // A command ends its answer with its line; in a table that would be a field of two lines.
                let line = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
                self.text(line.unwrap_or(text));
                self.lines.push(b',');
            }
            Some(Err(bytes)) => {
                self.lines.push(b',');
                self.text(&STANDARD.encode(bytes));
            }
        }
    }

    fn end_line(&mut self) {
        // The comma behind the last field.
        self.lines.pop();
        self.lines.extend_from_slice(b"\r\n");
    }
}

impl<W: Write + Send> RowWriter for Csv<W> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        let outcome = row.outcome.as_ref();
        self.shown(row.number);
        self.shown(row.call);
        self.text(row.status.as_str());
        self.maybe(outcome.map(|outcome| outcome.attempts));
        self.maybe(outcome.map(|outcome| outcome.queued_ms));
        self.maybe(outcome.map(|outcome| outcome.start_ms));
        self.maybe(outcome.map(|outcome| outcome.run_ms));
        self.maybe(outcome.and_then(|outcome| outcome.started_at));
        self.maybe(outcome.map(|outcome| outcome.completed_at));
        self.maybe(outcome.map(|outcome| &outcome.worker));
        if self.beside.source {
            self.maybe(row.source.as_ref());
        }
        let mut body = answer(row);
        if let Some(columns) = self.columns.take() {
            let members = body.and_then(|body| flatten::members(body));
            if members.is_some() {
                body = None;
            }
            for value in columns.of(members) {
                self.maybe(value.map(|value| flatten::text(&value)));
            }
            self.columns = Some(columns);
        }
        self.body(body.map(|body| &body[..]));
        self.maybe(outcome.and_then(|outcome| outcome.error.as_ref()));
        if self.beside.input {
            self.body(row.input.as_ref().map(|record| &record.payload[..]));
        }
        self.end_line();
        if self.lines.len() >= BUFFER_BYTES {
            self.out.write_all(&self.lines).map_err(failed)?;
            self.lines.clear();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.out.write_all(&self.lines).map_err(failed)?;
        self.lines.clear();
        self.out.flush().map_err(failed)
    }
}
