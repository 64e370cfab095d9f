//! A body on its way into the store: in memory, or spooled to an unlinked file when it is large.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::model::Digest;

/// Cheap to clone and to read again, so that a write can be repeated.
#[derive(Clone)]
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

/// A file without a name: it goes when the last handle does.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    bytes: u64,
}

impl Spool {
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub fn len(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let length = length.min(self.bytes.saturating_sub(offset) as usize);
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }
}

impl Body {
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
        let mut offset = 0;
        while offset < self.len() {
            let piece = self.read_at(offset, limits::MIB as usize)?;
            hasher.update(&piece);
            offset += piece.len() as u64;
        }
        Ok(Digest::from_bytes(hasher.finalize().into()))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::Bytes(bytes.into())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

/// Takes in an answer of unknown size: memory first, a file past 1 MiB, an error past the limit.
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
        if self.file.is_none() && bytes > limits::RESULT_MEMORY_BYTES {
            let mut file = tempfile::tempfile().map_err(BodyWriterError::Io)?;
            file.write_all(&self.memory).map_err(BodyWriterError::Io)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(piece).map_err(BodyWriterError::Io)?,
            None => self.memory.extend_from_slice(piece),
        }
        self.bytes = bytes;
        Ok(())
    }

    pub fn finish(self) -> Body {
        match self.file {
            Some(file) => Body::Spool(Spool { file: Arc::new(file), bytes: self.bytes }),
            None => Body::Bytes(self.memory.into()),
        }
    }
}
