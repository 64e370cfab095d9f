//! Text to UTF-8, by its byte-order mark: UTF-16 in either order of bytes. Half of a surrogate pair becomes three bytes that
//! are not UTF-8, so that it spoils its own record and no other.

use async_trait::async_trait;
use bytes::Bytes;

use super::head::Head;
use super::input::Input;
use crate::error::{Error, Result};

pub(super) const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";

/// The text without its byte-order mark, as UTF-8. Text without a mark stays as it is.
pub(super) fn to_utf_8(mut head: Head, name: &str) -> Box<dyn Input> {
    let unit: fn([u8; 2]) -> u16 = match head.bytes() {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        bytes => {
            let mark = if bytes.starts_with(UTF_8_MARK) { UTF_8_MARK.len() } else { 0 };
            head.skip(mark);
            return Box::new(head);
        }
    };
    head.skip(2);
    Box::new(Utf16 { input: head, unit, odd: None, high: None, name: name.to_owned() })
}

struct Utf16 {
    input: Head,
    unit: fn([u8; 2]) -> u16,
    /// The first byte of a unit whose second one is in the next block.
    odd: Option<u8>,
    /// The first half of a surrogate pair, likewise.
    high: Option<u16>,
    name: String,
}

impl Utf16 {
    fn push(&mut self, text: &mut Vec<u8>, unit: u16) {
        if let Some(high) = self.high.take() {
            if let 0xdc00..=0xdfff = unit {
                let pair = char::decode_utf16([high, unit]).next().and_then(std::result::Result::ok);
                push_char(text, pair.expect("two halves are a pair"));
                return;
            }
            push_half(text, high);
        }
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => match char::from_u32(unit.into()) {
                Some(char) => push_char(text, char),
                None => push_half(text, unit),
            },
        }
    }
}

fn push_char(text: &mut Vec<u8>, char: char) {
    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_half(text: &mut Vec<u8>, half: u16) {
    text.extend_from_slice(&[
        0xe0 | (half >> 12) as u8,
        0x80 | (half >> 6 & 0x3f) as u8,
        0x80 | (half & 0x3f) as u8,
    ]);
}

#[async_trait]
impl Input for Utf16 {
    async fn read(&mut self) -> Result<Bytes> {
        loop {
            let block = self.input.read().await?;
            let mut text = Vec::with_capacity(block.len() * 3 / 2);
            if block.is_empty() {
                if self.odd.take().is_some() {
                    return Err(Error::invalid(format!(
                        "`{}` is cut short: its UTF-16 ends within a character",
                        self.name
                    )));
                }
                if let Some(high) = self.high.take() {
                    push_half(&mut text, high);
                }
                return Ok(text.into());
            }
            for byte in block {
                match self.odd.take() {
                    None => self.odd = Some(byte),
                    Some(first) => {
                        let unit = (self.unit)([first, byte]);
                        self.push(&mut text, unit);
                    }
                }
            }
            if !text.is_empty() {
                return Ok(text.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::input::Memory;
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn read(file: &[u8], piece: usize) -> Result<Vec<u8>> {
        block_on(async {
            let pieces: Vec<Bytes> = file.chunks(piece).map(Bytes::copy_from_slice).collect();
            let head = Head::read(Box::new(Memory::pieces(pieces)), |bytes| bytes.len() >= 4).await?;
            let mut input = to_utf_8(head, "x");
            let mut text = Vec::new();
            loop {
                let block = input.read().await?;
                if block.is_empty() {
                    return Ok(text);
                }
                text.extend_from_slice(&block);
            }
        })
    }

    proptest! {
        #[test]
        fn utf_16_gives_what_its_utf_8_gives(text: String, piece in 1usize..9) {
            let with_mark = format!("\u{feff}{text}");
            let le: Vec<u8> = with_mark.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let be: Vec<u8> = with_mark.encode_utf16().flat_map(u16::to_be_bytes).collect();
            for file in [le, be, with_mark.into_bytes()] {
                prop_assert_eq!(String::from_utf8(read(&file, piece).unwrap()).unwrap(), text.as_str());
            }
        }
    }

    #[test]
    fn halves_of_pairs_are_no_text_and_half_a_unit_is_an_error() {
        let units = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
        for half in [0xd800, 0xdc00] {
            let text = read(&units(&[0xfeff, b'a'.into(), half, b'b'.into()]), 3).unwrap();
            assert!(std::str::from_utf8(&text).is_err());
            assert!(text.starts_with(b"a") && text.ends_with(b"b") && text.len() == 5);
        }
        assert_eq!(read(&units(&[0xfeff, 0xd800]), 1).unwrap().len(), 3);
        let cut = read(b"\xff\xfea\0b", 2).unwrap_err();
        assert_eq!(cut.message(), "`x` is cut short: its UTF-16 ends within a character");
    }
}
