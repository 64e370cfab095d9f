//! The body of an object: in memory, or in a file when it is large.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::model::Digest;

/// Cheap to clone and to read again, so that a write can be repeated.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    Bytes(Bytes),
    Spool(Spool),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Body::Bytes(_) => "Bytes",
            Body::Spool(_) => "Spool",
        };
        write!(f, "{kind}({} B)", self.len())
    }
}

/// A file that is read piece by piece: most often one without a name, which goes when the last handle does.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    bytes: u64,
}

impl Spool {
    /// So many bytes of a file, which is not to change any more.
    pub fn of(file: File, bytes: u64) -> Spool {
        Spool { file: Arc::new(file), bytes }
    }

    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let length = length.min(self.bytes.saturating_sub(offset) as usize);
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }
}

/// Spools are equal if they are the same file: contents are not compared.
impl PartialEq for Spool {
    fn eq(&self, other: &Spool) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && self.bytes == other.bytes
    }
}

impl Eq for Spool {}

/// How much of a file is read at a time.
const PIECE_BYTES: usize = 256 * limits::KIB as usize;

/// A body from its beginning to its end. What is in memory comes whole.
#[derive(Debug, Clone)]
pub struct Pieces {
    body: Body,
    offset: u64,
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.offset >= self.body.len() {
            return None;
        }
        let piece = match &self.body {
            Body::Bytes(bytes) => Ok(bytes.clone()),
            Body::Spool(spool) => spool.read_at(self.offset, PIECE_BYTES),
        };
        // After an error there is no more.
        self.offset += piece.as_ref().map_or(u64::MAX - self.offset, |piece| piece.len() as u64);
        Some(piece)
    }
}

impl Body {
    pub fn pieces(&self) -> Pieces {
        Pieces { body: self.clone(), offset: 0 }
    }

    pub fn len(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Spool(spool) => spool.bytes,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The piece at `offset`, as much of `length` as there is.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Body::Bytes(bytes) => {
                let start = bytes.len().min(offset as usize);
                Ok(bytes.slice(start..bytes.len().min(start + length)))
            }
            Body::Spool(spool) => spool.read_at(offset, length),
        }
    }

    /// All of it, in memory.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        match self {
            Body::Bytes(bytes) => Ok(bytes.clone()),
            Body::Spool(spool) => spool.read_at(0, spool.bytes as usize),
        }
    }

    pub fn sha256(&self) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        for piece in self.pieces() {
            hasher.update(piece?);
        }
        Ok(Digest::from_bytes(hasher.finalize().into()))
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::Bytes(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body::Bytes(bytes.into())
    }
}

/// Receives a body of unknown size: in memory, past 1 MiB in a file, past the limit with an error.
#[derive(Debug)]
pub struct BodyWriter {
    memory: Vec<u8>,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
}

/// Why a [`BodyWriter`] took no more.
#[derive(Debug)]
pub enum BodyWriterError {
    TooLarge { bytes_max: u64 },
    Io(io::Error),
}

impl BodyWriter {
    pub fn new(bytes_max: u64) -> BodyWriter {
        BodyWriter { memory: Vec::new(), file: None, bytes: 0, bytes_max }
    }

    pub fn write(&mut self, piece: &[u8]) -> Result<(), BodyWriterError> {
        use io::Write as _;
        let bytes = self.bytes + piece.len() as u64;
        if bytes > self.bytes_max {
            return Err(BodyWriterError::TooLarge { bytes_max: self.bytes_max });
        }
        if self.file.is_none() && bytes > limits::BODY_MEMORY_BYTES {
            let mut file = tempfile::tempfile().map_err(BodyWriterError::Io)?;
            file.write_all(&self.memory).map_err(BodyWriterError::Io)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(piece).map_err(BodyWriterError::Io)?,
            None => {
                // Most bodies come in one piece. The vector is then full, and becomes `Bytes` without a copy.
                if self.memory.is_empty() {
                    self.memory.reserve_exact(piece.len());
                }
                self.memory.extend_from_slice(piece);
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    pub fn finish(self) -> Body {
        match self.file {
            Some(file) => Body::Spool(Spool::of(file, self.bytes)),
            None => Body::Bytes(self.memory.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_in_memory_and_in_a_file() {
        for bytes in [0, 1, limits::BODY_MEMORY_BYTES as usize, 3 * limits::MIB as usize + 5] {
            let text: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            let mut writer = BodyWriter::new(u64::MAX);
            text.chunks(100_000).for_each(|piece| writer.write(piece).unwrap());
            let body = writer.finish();
            assert_eq!(matches!(body, Body::Spool(_)), bytes as u64 > limits::BODY_MEMORY_BYTES);
            let pieces: Vec<Bytes> = body.pieces().map(Result::unwrap).collect();
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            assert_eq!(pieces.concat(), text);
            assert_eq!(body.sha256().unwrap(), Digest::of(&text));
            assert_eq!(body.to_bytes().unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error_and_an_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PIECE_BYTES as u64 + 10).unwrap();
        let body = Body::Spool(Spool::of(file.try_clone().unwrap(), 2 * PIECE_BYTES as u64));
        let read: Vec<bool> = body.pieces().map(|piece| piece.is_ok()).collect();
        assert_eq!(read, [true, false]);
    }
}
