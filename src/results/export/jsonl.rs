//! One JSON object a line.
//!
//! The answer of a call is in `result`: as it is if it is JSON, else as a string. Bytes that are not text are in
//! `result_base64`. The same for `input`. JSON is copied, not parsed and written again, which would change its numbers.

use std::io::{self, BufWriter, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::super::rows::ResultRow;
use super::columns::{Cell, cells};
use super::row_columns::COLUMNS;
use super::{BUFFER_BYTES, RowWriter, failed, members};
use crate::error::Result;

pub struct JsonLines<W: Write> {
    out: BufWriter<W>,
    flatten: bool,
}

impl<W: Write> JsonLines<W> {
    /// `flatten`: members of results that are objects are beside the other fields instead of under `result`.
    pub fn new(out: W, flatten: bool) -> JsonLines<W> {
        JsonLines { out: BufWriter::with_capacity(BUFFER_BYTES, out), flatten }
    }

    fn line(&mut self, row: &ResultRow) -> io::Result<()> {
        for (index, ((name, _), cell)) in COLUMNS.into_iter().zip(cells(row)).enumerate() {
            let Some(cell) = cell else { continue };
            if let Cell::Body(body) = cell
                && name == "result"
                && self.flatten
                && let Some(members) = members::members(body)
            {
                for (name, value) in members {
                    self.out.write_all(b",")?;
                    self.value(&members::column(&name), &value)?;
                }
                continue;
            }
            // The number comes first, and every row has it.
            self.out.write_all(if index == 0 { b"{" } else { b"," })?;
            match cell {
                Cell::Number(number) => write!(self.out, "\"{name}\":{number}")?,
                Cell::Time(time) => write!(self.out, "\"{name}\":\"{time}\"")?,
                Cell::Text(text) => self.value(name, &text)?,
                Cell::Member(value) => self.value(name, &value)?,
                Cell::Body(body) => match Body::of(body) {
                    Body::Json(json) => {
                        write!(self.out, "\"{name}\":")?;
                        // Line ends are white space here: in its strings JSON has none.
                        for (index, line) in json.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
                            self.out.write_all(if index == 0 { b"" } else { b" " })?;
                            self.out.write_all(line)?;
                        }
                    }
                    Body::Text(text) => self.value(name, text)?,
                    Body::Binary(bytes) => {
                        write!(self.out, "\"{name}_base64\":\"{}\"", STANDARD.encode(bytes))?;
                    }
                },
            }
        }
        self.out.write_all(b"}\n")
    }

    fn value(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, name)?;
        self.out.write_all(b":")?;
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }
}

impl<W: Write + Send> RowWriter for JsonLines<W> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        self.line(row).map_err(failed)
    }

    fn finish(&mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

/// How JSON can hold a body.
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
