//! Text lines: each a payload of bytes as they are, an empty one too, so that call *n* is line *n*.

use std::borrow::Cow;

use async_trait::async_trait;

use super::frame::{Frames, LineEnds};
use super::input::Input;
use super::jsonl::{is_full, too_long};
use super::{Bad, Item, Origin, Source};
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
        let (mut items, mut bytes) = (Vec::new(), 0);
        while !is_full(&items, bytes) {
            let frame = match self.frames.in_block() {
                Some(frame) => frame,
                None if !items.is_empty() => break,
                None => match self.frames.next().await? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            bytes += frame.bytes;
            let mut item = Item { line: Some(frame.line), ..Item::default() };
            match frame.text {
                Some(text) => {
                    item.payload = text;
                    item.content_type = Some(Cow::Borrowed("text/plain"));
                }
                None => {
                    item.bad = Some(Box::new(Bad {
                        name: self.name.clone(),
                        line: Some(frame.line),
                        column: None,
                        reason: too_long("line", frame.bytes),
                        bytes: frame.bytes,
                    }));
                }
            }
            items.push(item);
        }
        Ok(items)
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
            lines.extend(items.into_iter().map(|item| (item.line.unwrap(), item.payload)));
        }
        let expected = ["a b", "", "\u{e9}", "", "last"];
        assert_eq!(lines, (1..).zip(expected.map(bytes::Bytes::from)).collect::<Vec<_>>());
    }
}
