//! Decompresses a text piece by piece, in bounded memory, however large the text is. A file may be several streams, one
//! after another.

mod bzip2;
mod gzip;
mod xz;
mod zstd;

use std::io;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};

use super::format::Compression;
use super::input::Input;
use crate::error::{Error, Result};

/// Decompresses one stream after another.
trait Decoder: Send {
    /// Makes ready for the first byte of a stream.
    fn restart(&mut self);

    /// Takes bytes from `compressed`. Appends to `text`, about [`crate::limits::SOURCE_BLOCK_BYTES`] at most.
    fn decode(&mut self, compressed: &mut Bytes, text: &mut Vec<u8>) -> io::Result<Progress>;

    /// Appends the rest of the text, when the file ends where the decoder needs input. An error if the stream is cut short.
    fn finish(&mut self, _text: &mut Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

enum Progress {
    /// There may be more text without further input.
    Full,
    /// More bytes are needed, behind those that were not taken.
    NeedsInput,
    EndOfStream,
}

pub(super) struct Decompress {
    input: Box<dyn Input>,
    compression: Compression,
    decoder: Box<dyn Decoder>,
    /// Read, and not yet decompressed.
    compressed: Bytes,
    place: Place,
    input_ended: bool,
    name: String,
    taken: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    InStream,
    BetweenStreams,
}

impl Decompress {
    pub(super) fn new(input: Box<dyn Input>, compression: Compression, name: String) -> Decompress {
        let decoder: Box<dyn Decoder> = match compression {
            Compression::Gzip => Box::new(gzip::Gzip::default()),
            Compression::Zstd => Box::new(zstd::Zstd::default()),
            Compression::Bzip2 => Box::new(bzip2::Bzip2::default()),
            Compression::Xz => Box::new(xz::Xz::default()),
        };
        let (compressed, place) = (Bytes::new(), Place::Start);
        Decompress { input, compression, decoder, compressed, place, input_ended: false, name, taken: 0 }
    }

    fn cannot(&self, error: &io::Error) -> Error {
        let (name, taken, kind) = (&self.name, self.taken, self.compression.name());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::invalid(format!(
                "cannot inflate `{name}` after {taken} bytes: its {kind} is cut short"
            ))
            .with_hint("it was not written or copied to its end: make it again, or copy it again"),
            io::ErrorKind::Unsupported => Error::invalid(format!("cannot inflate `{name}`: {error}"))
                .with_hint("decompress it, or compress it with other options"),
            _ => Error::invalid(format!("cannot inflate `{name}` after {taken} bytes: {error}"))
                .with_hint(format!("its {kind} is damaged")),
        }
    }

    /// Reads on, behind what was not taken. False at the end.
    async fn read_more(&mut self) -> Result<bool> {
        if !self.input_ended {
            let more = self.input.read().await?;
            self.input_ended = more.is_empty();
            if self.compressed.is_empty() {
                self.compressed = more;
            } else if !more.is_empty() {
                let mut joined = BytesMut::from(std::mem::take(&mut self.compressed));
                joined.extend_from_slice(&more);
                self.compressed = joined.freeze();
            }
        }
        Ok(!self.input_ended)
    }

    /// Goes to the first byte of the next stream. False when the file ends before it.
    async fn next_stream(&mut self) -> Result<bool> {
        loop {
            // Tapes and block devices pad a file with NULs.
            if self.place == Place::BetweenStreams && self.compression.may_be_padded() {
                let padding = self.compressed.iter().take_while(|byte| **byte == 0).count();
                self.compressed.advance(padding);
                self.taken += padding as u64;
            }
            if self.compressed.len() < Compression::HEAD_BYTES_MAX && self.read_more().await? {
                continue;
            }
            if self.compressed.is_empty() {
                return Ok(false);
            }
            if Compression::of_head(&self.compressed) != Some(self.compression) {
                let (name, taken, kind) = (&self.name, self.taken, self.compression.name());
                let what = format!(
                    "cannot inflate `{name}`: after {taken} bytes its {kind} ends, and something else follows"
                );
                return Err(
                    Error::invalid(what).with_hint("cut off what follows, or put it into a file of its own")
                );
            }
            self.decoder.restart();
            self.place = Place::InStream;
            return Ok(true);
        }
    }
}

#[async_trait]
impl Input for Decompress {
    async fn read(&mut self) -> Result<Bytes> {
        loop {
            if self.place != Place::InStream && !self.next_stream().await? {
                return Ok(Bytes::new());
            }
            let (mut text, before) = (Vec::new(), self.compressed.len());
            let decoded = self.decoder.decode(&mut self.compressed, &mut text);
            self.taken += (before - self.compressed.len()) as u64;
            match decoded.map_err(|error| self.cannot(&error))? {
                Progress::EndOfStream => {
                    self.place = Place::BetweenStreams;
                    // Found before the last records are handed on: of a small file none is.
                    if !self.compressed.is_empty() {
                        self.next_stream().await?;
                    }
                }
                Progress::NeedsInput if text.is_empty() && !self.read_more().await? => {
                    self.decoder.finish(&mut text).map_err(|error| self.cannot(&error))?;
                    self.place = Place::BetweenStreams;
                }
                Progress::Full | Progress::NeedsInput => {}
            }
            if !text.is_empty() {
                return Ok(text.into());
            }
        }
    }
}

#[cfg(test)]
mod tests;
