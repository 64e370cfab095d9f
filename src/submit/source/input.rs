//! Bytes of a text in the order in which they lie: from a file, the standard input, memory.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::error::{Error, Result};
use crate::limits;

#[async_trait]
pub(super) trait Input: Send {
    /// What comes next, at most about [`limits::SOURCE_BLOCK_BYTES`]; empty at the end.
    async fn read(&mut self) -> Result<Bytes>;
}

/// Below this a buffer is not worth another read.
const ROOM_MIN: usize = 64 * limits::KIB as usize;

pub(super) struct Reader<R> {
    reader: R,
    name: String,
    buffer: BytesMut,
}

pub(super) fn file(name: &str, file: tokio::fs::File) -> Reader<tokio::fs::File> {
    Reader { reader: file, name: name.to_owned(), buffer: BytesMut::new() }
}

pub(super) fn stdin() -> Reader<tokio::io::Stdin> {
    Reader { reader: tokio::io::stdin(), name: "stdin".to_owned(), buffer: BytesMut::new() }
}

#[async_trait]
impl<R: AsyncRead + Unpin + Send> Input for Reader<R> {
    async fn read(&mut self) -> Result<Bytes> {
        // A pipe gives little at a time: what it gives shares a block, so that a record never holds a whole one alone.
        if self.buffer.capacity() < ROOM_MIN {
            self.buffer = BytesMut::with_capacity(limits::SOURCE_BLOCK_BYTES as usize);
        }
        let read = self.reader.read_buf(&mut self.buffer).await;
        read.map_err(|error| Error::invalid(format!("cannot read `{}`: {error}", self.name)))?;
        Ok(self.buffer.split().freeze())
    }
}

/// A text in memory, given piece by piece.
pub(super) struct Memory(std::collections::VecDeque<Bytes>);

impl Memory {
    pub(super) fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Memory {
        Memory(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }
}

#[async_trait]
impl Input for Memory {
    async fn read(&mut self) -> Result<Bytes> {
        Ok(self.0.pop_front().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// What a pipe gives is handed on at once, and little pieces share a block instead of holding one each.
    #[tokio::test]
    async fn a_pipe_is_read_as_it_gives() {
        let (mut pipe, reader) = tokio::io::duplex(1_024);
        let mut input = Reader { reader, name: "pipe".to_owned(), buffer: BytesMut::new() };
        let mut pieces = Vec::new();
        for n in 0..100u8 {
            pipe.write_all(&[n; 100]).await.unwrap();
            pieces.push(input.read().await.unwrap());
        }
        assert!(pieces.iter().zip(0..).all(|(piece, n)| piece.as_ref() == [n; 100]));
        let neighbours = pieces.windows(2).filter(|two| two[0].as_ptr().wrapping_add(100) == two[1].as_ptr());
        assert_eq!(neighbours.count(), 99);
        drop(pipe);
        assert!(input.read().await.unwrap().is_empty());
    }
}
