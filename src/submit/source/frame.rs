//! Cuts a text into records, block by block. A record within a block is a slice of it, a record across blocks is joined, and
//! a record that is too long is skipped without being kept in memory.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter};

use super::input::Input;
use super::{BadRecord, SourceRecord, is_full};
use crate::error::Result;
use crate::limits;

/// What ends a record.
pub(super) enum Delimiter {
    LineFeed,
    /// A line feed outside quotes.
    Csv(FieldState),
}

impl Delimiter {
    /// Continues where the last call stopped. The number of bytes up to the end of the record, its line feed included,
    /// or `None` when the record continues in the next block.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Delimiter::LineFeed => memchr(b'\n', bytes).map(|at| at + 1),
            Delimiter::Csv(state) => csv_record_end(state, bytes),
        }
    }
}

/// The position within a field; decides whether a line feed ends the record.
#[derive(Default, Clone, Copy)]
pub(super) enum FieldState {
    #[default]
    Start,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: the end of the field, or the first of two quotes.
    Quote,
}

fn csv_record_end(state: &mut FieldState, bytes: &[u8]) -> Option<usize> {
    for (at, byte) in bytes.iter().enumerate() {
        *state = match (*state, byte) {
            (FieldState::Quoted, b'"') => FieldState::Quote,
            (FieldState::Quoted, _) => FieldState::Quoted,
            (FieldState::Start | FieldState::Quote, b'"') => FieldState::Quoted,
            (_, b',' | b'\n') => FieldState::Start,
            _ => FieldState::Unquoted,
        };
        if *byte == b'\n' && matches!(state, FieldState::Start) {
            return Some(at + 1);
        }
    }
    None
}

/// A record without the end of its last line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The line that it begins on, from 1.
    pub(super) line: u64,
    pub(super) bytes: u64,
    /// `None`: longer than [`limits::RECORD_BYTES_MAX`].
    pub(super) text: Option<Bytes>,
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
}

pub(super) struct Frames {
    input: Box<dyn Input>,
    delimiter: Delimiter,
    block: Bytes,
    /// The beginning of a record that continues in the block.
    begun: BytesMut,
    /// The bytes of the record so far, kept or not.
    bytes: u64,
    line: u64,
    lines_in_record: u64,
    started: bool,
    ended: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Frames {
    pub(super) fn new(input: Box<dyn Input>, delimiter: Delimiter) -> Frames {
        Frames {
            input,
            delimiter,
            block: Bytes::new(),
            begun: BytesMut::new(),
            bytes: 0,
            line: 1,
            lines_in_record: 0,
            started: false,
            ended: false,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.in_block() {
                return Ok(Some(frame));
            }
            if self.ended {
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
            let frame = match self.in_block() {
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

    /// The next record, if it ends in the current block.
    fn in_block(&mut self) -> Option<Frame> {
        if self.block.is_empty() {
            return None;
        }
        let end = self.delimiter.end(&self.block);
        let rest = self.block.split_to(end.unwrap_or(self.block.len()));
        self.lines_in_record += memchr_iter(b'\n', &rest).count() as u64;
        self.bytes += rest.len() as u64;
        if end.is_some() {
            return Some(self.take(rest));
        }
        if self.is_too_long() {
            self.begun = BytesMut::new();
        } else {
            self.begun.extend_from_slice(&rest);
        }
        None
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
        let mut bytes = self.bytes;
        if let Some(text) = &mut text {
            if text.last() == Some(&b'\n') {
                text.truncate(text.len() - 1);
                if text.last() == Some(&b'\r') {
                    text.truncate(text.len() - 1);
                }
            }
            bytes = text.len() as u64;
        }
        let text = text.filter(|text| text.len() as u64 <= limits::RECORD_BYTES_MAX);
        let frame = Frame { line: self.line, bytes, text };
        self.begun = BytesMut::new();
        self.line += self.lines_in_record;
        (self.bytes, self.lines_in_record) = (0, 0);
        frame
    }

    async fn read(&mut self) -> Result<()> {
        self.block = self.input.read().await?;
        self.ended = self.block.is_empty();
        if self.started {
            return Ok(());
        }
        self.started = true;
        while self.block.len() < BYTE_ORDER_MARK.len() && !self.ended {
            let more = self.input.read().await?;
            self.ended = more.is_empty();
            self.block = [self.block.as_ref(), more.as_ref()].concat().into();
        }
        if self.block.starts_with(BYTE_ORDER_MARK) {
            self.block = self.block.slice(BYTE_ORDER_MARK.len()..);
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
        let mut frames = Frames::new(Box::new(Memory::pieces(pieces)), Delimiter::LineFeed);
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
        fn the_same_however_it_is_split(text in "(\u{feff})?([a-c]{0,3}\r?\n){0,6}[a-c\r]{0,3}", sizes in proptest::collection::vec(1usize..6, 0..60)) {
            let whole = Bytes::from(text.clone());
            let mut rest = whole.clone();
            let mut pieces = Vec::new();
            for size in sizes {
                pieces.push(rest.split_to(size.min(rest.len())));
            }
            pieces.push(rest);
            let found = block_on(frames(pieces));
            let plain = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let expected: Vec<&str> = plain.lines().collect();
            let texts: Vec<&str> = found.iter().map(|frame| std::str::from_utf8(frame.text.as_ref().unwrap()).unwrap()).collect();
            prop_assert_eq!(texts, expected);
            prop_assert!(found.iter().zip(1..).all(|(frame, line)| frame.line == line));
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
                assert_eq!(found[1], Frame { line: 2, bytes: 4, text: Some("next".into()) });
            }
        }
    }
}
