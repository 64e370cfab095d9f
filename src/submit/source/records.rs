//! Records of one text, in any of the formats that are text.

use std::borrow::Cow;

use async_trait::async_trait;

use super::csv::{self, CsvFraming, Header};
use super::format::{Delimiter, Format};
use super::frame::{Frame, Frames, Lines};
use super::head::Head;
use super::input::Input;
use super::json::{self, JsonFraming};
use super::{Kind, Origin, Source, SourceRecord, text};
use crate::error::Result;

/// Nothing is read before the first records are asked for.
pub(super) struct Records {
    state: State,
    given: Format,
    name: String,
    origin: Origin,
    notice: Option<String>,
}

enum State {
    Unread(Box<dyn Input>),
    Reading(Parser),
    /// An error ended the source.
    Failed,
}

enum Parser {
    Jsonl(Frames<Lines>),
    Json(Frames<JsonFraming>),
    /// `None`: no header yet.
    Csv(Frames<CsvFraming>, Option<Header>),
    Lines(Frames<Lines>),
}

impl Records {
    pub(super) fn new(input: Box<dyn Input>, given: Format, name: String, origin: Origin) -> Records {
        Records { state: State::Unread(input), given, name, origin, notice: None }
    }

    /// Finds out what is not given, by the first bytes. A resume finds out the same.
    async fn open(&mut self, input: Box<dyn Input>) -> Result<Parser> {
        let (mut text, mut format) = text::open(input, self.given, &self.name).await?;
        if format.kind == Kind::Jsonl {
            let head = Head::read(text, json::has_first_line).await?;
            if json::is_laid_out(head.bytes()) {
                format.kind = Kind::Json;
                self.notice = Some("is not one JSON value a line: it is read as `--format json`".to_owned());
            }
            text = Box::new(head);
        }
        self.origin.format = format.to_string();
        let (name, tab) = (&self.name, (format.kind == Kind::Tsv).then_some(Delimiter::TAB));
        Ok(match format.kind {
            Kind::Jsonl | Kind::OpenAi => Parser::Jsonl(Frames::new(text, name, Lines)),
            Kind::Json => Parser::Json(Frames::new(text, name, JsonFraming::default())),
            Kind::Csv | Kind::Tsv => {
                Parser::Csv(Frames::new(text, name, CsvFraming::new(self.origin.delimiter.or(tab))), None)
            }
            _ => Parser::Lines(Frames::new(text, name, Lines)),
        })
    }

    async fn items(&mut self) -> Result<Vec<SourceRecord>> {
        if let State::Unread(_) = &self.state
            && let State::Unread(input) = std::mem::replace(&mut self.state, State::Failed)
        {
            self.state = State::Reading(self.open(input).await?);
        }
        let (State::Reading(parser), name) = (&mut self.state, &self.name) else { return Ok(Vec::new()) };
        match parser {
            Parser::Jsonl(frames) => frames.items(|frame| json::line(name, frame)).await,
            Parser::Json(frames) => frames.items(|frame| Some(json::element(name, frame))).await,
            Parser::Lines(frames) => frames.items(|frame| Some(line(name, frame))).await,
            Parser::Csv(frames, header) => {
                if header.is_none() {
                    *header = csv::header(frames, name).await?;
                    self.notice = header.as_ref().and_then(Header::notice);
                }
                let Some(header) = header else { return Ok(Vec::new()) };
                frames.items(|frame| csv::item(name, header, frame)).await
            }
        }
    }
}

#[async_trait]
impl Source for Records {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        let items = self.items().await;
        if items.is_err() {
            self.state = State::Failed;
        }
        items
    }

    fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }
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
