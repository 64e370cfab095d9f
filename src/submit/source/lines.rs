//! Text lines: each a payload of bytes as they are, an empty one too, so that call *n* is line *n*.

use std::borrow::Cow;

use async_trait::async_trait;

use super::frame::{Frame, Frames, LineEnds};
use super::input::Input;
use super::{Item, Origin, Source};
use crate::error::Result;

pub(super) struct Lines {
    frames: Frames<LineEnds>,
    name: String,
    origin: Origin,
}

impl Lines {
    pub(super) fn new(input: Box<dyn Input>, name: String, origin: Origin) -> Lines {
        Lines { frames: Frames::new(input, LineEnds), name, origin }
    }
}

#[async_trait]
impl Source for Lines {
    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    async fn next(&mut self) -> Result<Vec<Item>> {
        let name = &self.name;
        let item = |frame: Frame| {
            let line = frame.line;
            let content_type = Some(Cow::Borrowed("text/plain"));
            Some(match frame.text {
                Some(payload) => {
                    Item { payload: payload.into(), content_type, line: Some(line), ..Item::default() }
                }
                None => {
                    let reason = frame.too_long("line");
                    frame.bad(name, line, None, reason)
                }
            })
        };
        self.frames.items(item).await
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
