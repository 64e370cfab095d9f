//! One JSON object a line.
//!
//! The answer of a call is in `result`: as it is if it is JSON, else as a string. Bytes that are not text are in
//! `result_base64`. The same for `input`. JSON is copied, not parsed and written again, which would change its numbers.
//!
//! A row is I-JSON (RFC 7493) where it is not such a copy. A flattened number that a double does not give back digit by digit
//! is a string, because many readers have no other numbers. JSON with half a surrogate pair is copied as text.

use std::io::{self, BufWriter, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::super::rows::ResultRow;
use super::columns::{Cell, cells};
use super::members::MembersOf;
use super::number::{Number, is_number};
use super::row_columns::COLUMNS;
use super::{BUFFER_BYTES, RowWriter, failed};
use crate::error::Result;
use crate::model::json_object::{is_json, members, one_line};

pub struct JsonLines<W: Write> {
    out: BufWriter<W>,
    flatten: bool,
}

impl<W: Write> JsonLines<W> {
    /// `flatten`: members of results and payloads that are objects are beside the other fields instead of under `result` and
    /// `input`.
    pub fn new(out: W, flatten: bool) -> JsonLines<W> {
        JsonLines { out: BufWriter::with_capacity(BUFFER_BYTES, out), flatten }
    }

    fn line(&mut self, row: &ResultRow) -> io::Result<()> {
        for (index, ((name, _), cell)) in COLUMNS.into_iter().zip(cells(row)).enumerate() {
            let Some(cell) = cell else { continue };
            if let Cell::Body(body) = cell
                && self.flatten
                && let Some(of) = MembersOf::column_of(name)
                && let Some(members) = members(body)
            {
                for member in members {
                    self.out.write_all(b",")?;
                    self.member(&of.column(&member.name), member.json)?;
                }
                continue;
            }
            // The number comes first, and every row has it.
            self.out.write_all(if index == 0 { b"{" } else { b"," })?;
            match cell {
                Cell::Number(number) => write!(self.out, "\"{name}\":{number}")?,
                Cell::Time(time) => write!(self.out, "\"{name}\":\"{time}\"")?,
                Cell::Text(text) => self.value(name, &text)?,
                Cell::Member(json) => self.member(name, json)?,
                Cell::Body(body) => match Body::of(body) {
                    Body::Json(json) => {
                        write!(self.out, "\"{name}\":{}", one_line(json))?;
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

    fn member(&mut self, name: &str, json: &str) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, name)?;
        match is_number(json) && !Number::of(json).is_some_and(|number| number.is_double()) {
            true => write!(self.out, ":\"{json}\""),
            false => write!(self.out, ":{}", one_line(json)),
        }
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
    Json(&'a str),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl Body<'_> {
    pub fn of(bytes: &[u8]) -> Body<'_> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Body::Binary(bytes) };
        match is_json(text) {
            true => Body::Json(text.trim_ascii()),
            false => Body::Text(text),
        }
    }
}
