//! Cuts a text into records, block by block. A record within a block is a slice of it, a record across blocks is joined, and
//! a record that is too long is skipped without being kept in memory.

use bytes::{Bytes, BytesMut};

use super::input::Input;
use super::line_end::LineEnd;
use super::{BadRecord, SourceRecord, is_full};
use crate::error::{Error, Result};
use crate::limits;

/// Where the records of a format end. It sees each byte of a text once, in order, and remembers where in a record it is.
pub(super) trait Framing: Send {
    /// `bytes` is not empty.
    fn cut(&mut self, bytes: &[u8], line_end: LineEnd) -> Cut;

    /// An error if the text must not end here.
    fn finish(&self) -> std::result::Result<(), &'static str> {
        Ok(())
    }
}

pub(super) enum Cut {
    /// The record ends after so many of the bytes.
    Record(usize),
    /// So many bytes lie between records.
    Gap(usize),
    /// The record continues in the next block.
    Open,
    /// No record can follow.
    Broken(&'static str),
}

/// Every line is a record.
pub(super) struct Lines;

impl Framing for Lines {
    fn cut(&mut self, bytes: &[u8], line_end: LineEnd) -> Cut {
        line_end.find(bytes).map_or(Cut::Open, |at| Cut::Record(at + 1))
    }
}

/// A record without the end of its last line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The line that it begins on, from 1.
    pub(super) line: u64,
    /// Where in that line it begins, in bytes from 1.
    pub(super) column: u64,
    pub(super) bytes: u64,
    /// `None`: longer than [`limits::RECORD_BYTES_MAX`].
    pub(super) text: Option<Bytes>,
    pub(super) line_end: LineEnd,
}

impl Frame {
    /// An item of a record that cannot be a call; `column` in bytes, from 1.
    pub(super) fn bad(self, name: &str, line: u64, column: Option<u64>, reason: String) -> SourceRecord {
        let bad = BadRecord { name: name.to_owned(), line: Some(line), column, reason, bytes: self.bytes };
        let payload = self.text.unwrap_or_default().into();
        SourceRecord { payload, line: Some(self.line), bad: Some(Box::new(bad)), ..SourceRecord::default() }
    }

    /// The reason of a record that is too long.
    pub(super) fn too_long(&self, what: &str) -> String {
        format!("the {what} has {} bytes, the most is {}", self.bytes, limits::RECORD_BYTES_MAX)
    }

    /// Line and column, in the source, of what follows `before` in the record.
    pub(super) fn position(&self, before: &[u8]) -> (u64, u64) {
        match self.line_end.last(before) {
            None => (self.line, self.column + before.len() as u64),
            Some(at) => (self.line + self.line_end.count(before), (before.len() - at) as u64 + 1),
        }
    }
}

pub(super) struct Frames<F> {
    input: Box<dyn Input>,
    name: String,
    pub(super) framing: F,
    /// `None` until the first line end is seen.
    line_end: Option<LineEnd>,
    block: Bytes,
    /// The beginning of a record that continues in the block.
    begun: BytesMut,
    /// The bytes of the record so far, kept or not.
    bytes: u64,
    /// Where the record begins.
    start: (u64, u64),
    /// Where the block begins.
    place: (u64, u64),
    /// The block before ended with a carriage return, which is the end of a line.
    after_return: bool,
    /// So did the record before: a line feed that follows belongs to it.
    skips_feed: bool,
    ended: bool,
}

impl<F: Framing> Frames<F> {
    pub(super) fn new(input: Box<dyn Input>, name: &str, framing: F) -> Frames<F> {
        Frames {
            input,
            name: name.to_owned(),
            framing,
            line_end: None,
            block: Bytes::new(),
            begun: BytesMut::new(),
            bytes: 0,
            start: (1, 1),
            place: (1, 1),
            after_return: false,
            skips_feed: false,
            ended: false,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.in_block()? {
                return Ok(Some(frame));
            }
            if self.ended {
                self.framing.finish().map_err(|why| self.broken(why))?;
                return Ok((self.bytes > 0).then(|| self.take(Bytes::new())));
            }
            self.read().await?;
        }
    }

    /// Records as items, a block of them. Returns the records that were read before it waits for more. None at the end.
    pub(super) async fn items(
        &mut self,
        mut item: impl FnMut(Frame) -> Option<SourceRecord> + Send,
    ) -> Result<Vec<SourceRecord>> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while !is_full(&items, bytes) {
            let frame = match self.in_block()? {
                Some(frame) => frame,
                None if !items.is_empty() => break,
                None => match self.next().await? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            bytes += frame.bytes;
            items.extend(item(frame));
        }
        Ok(items)
    }

    fn broken(&self, why: &str) -> Error {
        let (line, column) = self.place;
        Error::invalid(format!("`{}` cannot be read past {line}:{column}: {why}", self.name))
    }

    /// The next record, if it ends in the current block.
    fn in_block(&mut self) -> Result<Option<Frame>> {
        while !self.block.is_empty() {
            let line_end = self.line_end();
            if std::mem::take(&mut self.skips_feed) && self.block[0] == b'\n' {
                self.after_return = false;
                let _ = self.block.split_to(1);
                continue;
            }
            match self.framing.cut(&self.block, line_end) {
                Cut::Record(end) => {
                    let rest = self.pass(end, line_end);
                    self.skips_feed = self.after_return;
                    self.bytes += rest.len() as u64;
                    return Ok(Some(self.take(rest)));
                }
                Cut::Gap(end) => {
                    self.pass(end, line_end);
                    self.start = self.place;
                }
                Cut::Open => {
                    let rest = self.pass(self.block.len(), line_end);
                    self.bytes += rest.len() as u64;
                    if self.is_too_long() {
                        self.begun = BytesMut::new();
                    } else {
                        self.begun.extend_from_slice(&rest);
                    }
                }
                Cut::Broken(why) => return Err(self.broken(why)),
            }
        }
        Ok(None)
    }

    /// Until one is seen there is none to be told apart.
    fn line_end(&self) -> LineEnd {
        self.line_end.unwrap_or(LineEnd::Feed)
    }

    /// Takes bytes from the block.
    fn pass(&mut self, bytes: usize, line_end: LineEnd) -> Bytes {
        let passed = self.block.split_to(bytes);
        let continues = std::mem::take(&mut self.after_return) && passed.first() == Some(&b'\n');
        match line_end.last(&passed) {
            None => self.place.1 += passed.len() as u64,
            Some(at) => {
                let lines = line_end.count(&passed) - u64::from(continues);
                self.place = (self.place.0 + lines, (passed.len() - at) as u64 + 1);
            }
        }
        self.after_return = line_end == LineEnd::Return && passed.last() == Some(&b'\r');
        passed
    }

    /// Two more for the end of its line.
    fn is_too_long(&self) -> bool {
        self.bytes > limits::RECORD_BYTES_MAX + 2
    }

    fn take(&mut self, rest: Bytes) -> Frame {
        let mut text = if self.is_too_long() {
            None
        } else if self.begun.is_empty() {
            Some(rest)
        } else {
            self.begun.extend_from_slice(&rest);
            Some(self.begun.split().freeze())
        };
        let (line_end, mut bytes) = (self.line_end(), self.bytes);
        if let Some(text) = &mut text {
            line_end.strip(text);
            bytes = text.len() as u64;
        }
        let text = text.filter(|text| text.len() as u64 <= limits::RECORD_BYTES_MAX);
        let (line, column) = self.start;
        self.begun = BytesMut::new();
        (self.bytes, self.start) = (0, self.place);
        Frame { line, column, bytes, text, line_end }
    }

    async fn read(&mut self) -> Result<()> {
        self.block = self.input.read().await?;
        self.ended = self.block.is_empty();
        while self.line_end.is_none() {
            self.line_end = LineEnd::first(&self.block, self.ended);
            if self.line_end.is_some() || self.ended || self.block.last() != Some(&b'\r') {
                break;
            }
            // Only the next byte tells what the carriage return is.
            let more = self.input.read().await?;
            self.ended = more.is_empty();
            self.block = [self.block.as_ref(), more.as_ref()].concat().into();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::input::Memory;
    use super::*;

    async fn frames(pieces: Vec<Bytes>) -> Vec<Frame> {
        let mut frames = Frames::new(Box::new(Memory::pieces(pieces)), "x", Lines);
        let mut all = Vec::new();
        while let Some(frame) = frames.next().await.unwrap() {
            all.push(frame);
        }
        all
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn the_same_however_it_is_split(text in "([a-c]{0,3}(\r\n|\n|\r)){0,6}[a-c\r]{0,3}", sizes in proptest::collection::vec(1usize..6, 0..60)) {
            let whole = Bytes::from(text.clone());
            let mut rest = whole.clone();
            let mut pieces = Vec::new();
            for size in sizes {
                pieces.push(rest.split_to(size.min(rest.len())));
            }
            pieces.push(rest);
            let found = block_on(frames(pieces));
            let first_end = text.find(['\r', '\n']);
            let of_an_old_mac = first_end.is_some_and(|at| !text[at..].starts_with("\r\n") && text[at..].starts_with('\r'));
            let text = if of_an_old_mac { text.replace("\r\n", "\n").replace('\r', "\n") } else { text };
            let expected: Vec<&str> = text.lines().collect();
            let texts: Vec<&str> = found.iter().map(|frame| std::str::from_utf8(frame.text.as_ref().unwrap()).unwrap()).collect();
            prop_assert_eq!(texts, expected);
            prop_assert!(found.iter().zip(1..).all(|(frame, line)| (frame.line, frame.column) == (line, 1)));
        }
    }

    #[tokio::test]
    async fn a_record_of_the_limit_is_held_and_a_longer_one_is_passed_over() {
        let max = limits::RECORD_BYTES_MAX as usize;
        for (bytes, held) in [(max, true), (max + 1, false), (3 * max, false)] {
            let text = [vec![b'x'; bytes], b"\r\nnext".to_vec()].concat();
            for piece in [100_000, text.len()] {
                let found = frames(text.chunks(piece).map(Bytes::copy_from_slice).collect()).await;
                assert_eq!(found.len(), 2);
                assert_eq!(found[0].text.is_some(), held, "{bytes}");
                assert!((bytes as u64..=bytes as u64 + 2).contains(&found[0].bytes));
                let next = Frame {
                    line: 2,
                    column: 1,
                    bytes: 4,
                    text: Some("next".into()),
                    line_end: LineEnd::Feed,
                };
                assert_eq!(found[1], next);
            }
        }
    }
}
