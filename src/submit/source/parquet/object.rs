//! An object as a file that is read at any place: by aligned blocks, the last of which are kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::super::objects::Bucket;
use crate::error::Result;
use crate::limits::{PARQUET_BLOCK_BYTES, PARQUET_BLOCKS_MAX};
use crate::seam::store::{ByteRange, ETag};

/// Read in blocking tasks alone. It must stay the same while it is read.
#[derive(Clone)]
pub(super) struct ObjectFile(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    key: String,
    etag: ETag,
    bytes: u64,
    runtime: Handle,
    /// With their numbers, the one that was used last at the end.
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
}

impl ObjectFile {
    pub(super) async fn open(bucket: Bucket, key: String) -> Result<ObjectFile> {
        let info = bucket.head(&key).await?;
        let (runtime, blocks) = (Handle::current(), Mutex::default());
        Ok(ObjectFile(Arc::new(Inner { bucket, key, etag: info.etag, bytes: info.bytes, runtime, blocks })))
    }

    /// What lies at a place, as far as its block goes; empty at the end.
    fn at(&self, place: u64) -> Result<Bytes> {
        if place >= self.0.bytes {
            return Ok(Bytes::new());
        }
        let number = place / PARQUET_BLOCK_BYTES;
        let block = self.block(number)?;
        let skip = (place - number * PARQUET_BLOCK_BYTES) as usize;
        Ok(block.slice(skip.min(block.len())..))
    }

    fn block(&self, number: u64) -> Result<Bytes> {
        let Inner { bucket, key, etag, runtime, blocks, .. } = &*self.0;
        let mut blocks = blocks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(at) = blocks.iter().position(|(other, _)| *other == number) {
            let found = blocks.remove(at).expect("it was found there");
            blocks.push_back(found.clone());
            return Ok(found.1);
        }
        let range = ByteRange::Part { offset: number * PARQUET_BLOCK_BYTES, length: PARQUET_BLOCK_BYTES };
        let read = runtime.block_on(bucket.read(key, range))?;
        if read.info.etag != *etag {
            return Err(bucket.changed(key));
        }
        if blocks.len() >= PARQUET_BLOCKS_MAX {
            blocks.pop_front();
        }
        blocks.push_back((number, read.body.clone()));
        Ok(read.body)
    }
}

impl Length for ObjectFile {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl ChunkReader for ObjectFile {
    type T = ObjectRead;

    fn get_read(&self, start: u64) -> ParquetResult<ObjectRead> {
        Ok(ObjectRead { file: self.clone(), place: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = Vec::new();
        let read = self.get_read(start)?.take(length as u64).read_to_end(&mut bytes);
        match read.map_err(|error| ParquetError::External(error.into()))? {
            read if read == length => Ok(bytes.into()),
            read => {
                Err(ParquetError::EOF(format!("{length} bytes are expected at {start}, there are {read}")))
            }
        }
    }
}

pub(super) struct ObjectRead {
    file: ObjectFile,
    place: u64,
}

impl Read for ObjectRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.at(self.place).map_err(|error| io::Error::other(error.to_string()))?;
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        self.place += read as u64;
        Ok(read)
    }
}
