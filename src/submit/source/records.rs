//! Records of one text: JSON Lines, CSV or plain lines.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use serde::de::IgnoredAny;

use super::csv::{self, Columns};
use super::frame::{Delimiter, FieldState, Frame, Frames};
use super::input::Input;
use super::{Kind, Origin, Source, SourceRecord};
use crate::error::Result;

pub(super) struct Records {
    frames: Frames,
    parser: Parser,
    name: String,
    origin: Origin,
}

enum Parser {
    Jsonl,
    /// `None` until the header is read.
    Csv(Option<Columns>),
    Lines,
}

impl Records {
    pub(super) fn new(input: Box<dyn Input>, kind: Kind, name: String, origin: Origin) -> Records {
        let (parser, delimiter) = match kind {
            Kind::Jsonl => (Parser::Jsonl, Delimiter::LineFeed),
            Kind::Csv => (Parser::Csv(None), Delimiter::Csv(FieldState::default())),
            _ => (Parser::Lines, Delimiter::LineFeed),
        };
        Records { frames: Frames::new(input, delimiter), parser, name, origin }
    }
}

#[async_trait]
impl Source for Records {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let name = &self.name;
        match &mut self.parser {
            Parser::Jsonl => self.frames.items(|frame| json(name, frame)).await,
            Parser::Lines => self.frames.items(|frame| Some(line(name, frame))).await,
            Parser::Csv(columns) => {
                let columns = match columns {
                    Some(columns) => columns,
                    None => columns.insert(csv::header(&mut self.frames, name).await?),
                };
                self.frames.items(|frame| csv::item(name, columns, frame)).await
            }
        }
    }
}

/// The line as written. A line of nothing but white space is no record and takes no number.
fn json(name: &str, frame: Frame) -> Option<SourceRecord> {
    let line = frame.line;
    let Some(text) = frame.text.clone() else {
        let reason = frame.too_long("line");
        return Some(frame.bad(name, line, None, reason));
    };
    if text.trim_ascii().is_empty() {
        return None;
    }
    let content_type = Some(Cow::Borrowed("application/json"));
    Some(match check(&text) {
        Ok(()) => {
            SourceRecord { payload: text.into(), content_type, line: Some(line), ..SourceRecord::default() }
        }
        Err((column, reason)) => SourceRecord { content_type, ..frame.bad(name, line, Some(column), reason) },
    })
}

/// Checks that a text is one JSON value without building it. The error has the column, from 1, and the reason.
fn check(text: &Bytes) -> std::result::Result<(), (u64, String)> {
    let text = std::str::from_utf8(text)
        .map_err(|error| (error.valid_up_to() as u64 + 1, "the line is not UTF-8".to_owned()))?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        (error.column().max(1) as u64, format!("not JSON: {reason}"))
    })
}

/// The bytes of a line as they are. An empty line is a record too, so that call *n* is line *n*.
fn line(name: &str, frame: Frame) -> SourceRecord {
    let line = frame.line;
    if frame.text.is_none() {
        let reason = frame.too_long("line");
        return frame.bad(name, line, None, reason);
    }
    let content_type = Some(Cow::Borrowed("text/plain"));
    SourceRecord {
        payload: frame.text.unwrap_or_default().into(),
        content_type,
        line: Some(line),
        ..SourceRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Kind, text};
    use crate::limits;

    #[tokio::test]
    async fn values_as_written_and_bad_lines_by_line_and_column() {
        let lines = "{\"a\": 1}\n\n  \t\r\n[1,\n 2 \r\n\"\u{e9}\"\n{} {}\nnul\n7";
        let mut source = text(lines, Format::plain(Kind::Jsonl), "x.jsonl");
        let mut items = Vec::new();
        loop {
            let more = source.next().await.unwrap();
            if more.is_empty() {
                break;
            }
            items.extend(more);
        }
        let seen: Vec<(String, u64, Option<String>)> = items
            .iter()
            .map(|item| {
                let payload = String::from_utf8(item.payload.to_bytes().unwrap().to_vec()).unwrap();
                (payload, item.line.unwrap(), item.bad.as_ref().map(|bad| bad.to_string()))
            })
            .collect();
        let bad = |text: &str| Some(text.to_owned());
        assert_eq!(
            seen,
            [
                ("{\"a\": 1}".to_owned(), 1, None),
                ("[1,".to_owned(), 4, bad("x.jsonl:4:3: not JSON: EOF while parsing a value")),
                (" 2 ".to_owned(), 5, None),
                ("\"\u{e9}\"".to_owned(), 6, None),
                ("{} {}".to_owned(), 7, bad("x.jsonl:7:4: not JSON: trailing characters")),
                ("nul".to_owned(), 8, bad("x.jsonl:8:3: not JSON: EOF while parsing a value")),
                ("7".to_owned(), 9, None),
            ]
        );
        assert_eq!(items[0].content_type.as_deref(), Some("application/json"));
    }

    #[tokio::test]
    async fn a_line_too_long_and_one_that_is_no_text() {
        let long = vec![b'1'; limits::RECORD_BYTES_MAX as usize + 1];
        let lines = [long.as_slice(), b"\n\"\xff\"\n1\n"].concat();
        let mut source = text(lines, Format::plain(Kind::Jsonl), "x");
        let mut items = source.next().await.unwrap();
        items.extend(source.next().await.unwrap());
        let bad: Vec<String> = items.iter().filter_map(|item| Some(item.bad.as_ref()?.to_string())).collect();
        assert_eq!(
            bad,
            ["x:1: the line has 6291457 bytes, the most is 6291456", "x:2:2: the line is not UTF-8"]
        );
        assert!(items[0].payload.is_empty());
        assert_eq!(items.len(), 3);
    }

    #[tokio::test]
    async fn every_line_is_a_call_an_empty_one_too() {
        let mut source = text("a b\r\n\n\u{e9}\n\nlast", Format::plain(Kind::Lines), "x");
        let mut lines = Vec::new();
        loop {
            let items = source.next().await.unwrap();
            if items.is_empty() {
                break;
            }
            lines
                .extend(items.into_iter().map(|item| (item.line.unwrap(), item.payload.to_bytes().unwrap())));
        }
        let expected = ["a b", "", "\u{e9}", "", "last"];
        assert_eq!(lines, (1..).zip(expected.map(bytes::Bytes::from)).collect::<Vec<_>>());
    }
}
