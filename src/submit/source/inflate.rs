//! Decompresses a text piece by piece, in bounded memory, however large the text is.

use std::io::Write as _;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation as _};

use super::format::Compression;
use super::input::Input;
use crate::error::{Error, Result};
use crate::limits;

pub(super) struct Inflate {
    input: Box<dyn Input>,
    /// Read, and not yet inflated.
    compressed: Bytes,
    ended: bool,
    decoder: Decoder,
    name: String,
    taken: u64,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// Gzip, at the end.
    Finished,
    Zstd {
        /// Made with the first bytes.
        decoder: Option<ZstdDecoder<'static>>,
        /// At the end of a frame: the text may end here.
        whole: bool,
        /// The last output was cut short by its room: there may be more without further input.
        full: bool,
    },
}

impl Inflate {
    pub(super) fn new(input: Box<dyn Input>, compression: Compression, name: String) -> Inflate {
        let decoder = match compression {
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Compression::Zstd => Decoder::Zstd { decoder: None, whole: true, full: false },
        };
        Inflate { input, compressed: Bytes::new(), ended: false, decoder, name, taken: 0 }
    }

    fn cannot(&self, error: impl std::fmt::Display) -> Error {
        let error =
            Error::invalid(format!("cannot inflate `{}` after {} bytes: {error}", self.name, self.taken));
        match self.decoder {
            Decoder::Gzip(_) | Decoder::Finished => error.with_hint("the file is damaged, cut short or no gzip"),
            Decoder::Zstd { .. } => error.with_hint(format!(
                "the file is damaged, cut short, no zstd, or was made with a window of more than {} MiB (`--long`, `--ultra`)",
                (1u64 << limits::ZSTD_WINDOW_LOG_MAX) / limits::MIB
            )),
        }
    }

    fn inflate(&mut self) -> std::io::Result<Vec<u8>> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => {
                let mut out = Vec::new();
                while out.len() < limits::SOURCE_BLOCK_BYTES as usize && !self.compressed.is_empty() {
                    let piece = self.compressed.len().min(limits::INFLATE_PIECE_BYTES);
                    let taken = decoder.write(&self.compressed[..piece])?;
                    if taken == 0 {
                        return Err(std::io::Error::other("bytes after the end"));
                    }
                    self.compressed.advance(taken);
                    self.taken += taken as u64;
                    out.append(decoder.get_mut());
                }
                Ok(out)
            }
            Decoder::Finished => Ok(Vec::new()),
            Decoder::Zstd { decoder, whole, full } => {
                let decoder = match decoder {
                    Some(decoder) => decoder,
                    None => {
                        let mut made = ZstdDecoder::new()?;
                        made.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG_MAX))?;
                        decoder.insert(made)
                    }
                };
                let mut out = vec![0; limits::SOURCE_BLOCK_BYTES as usize];
                let status = decoder.run_on_buffers(&self.compressed, &mut out)?;
                self.compressed.advance(status.bytes_read);
                self.taken += status.bytes_read as u64;
                *whole = status.remaining == 0;
                *full = status.bytes_written == out.len() && !*whole;
                out.truncate(status.bytes_written);
                Ok(out)
            }
        }
    }

    /// What the decoder holds at the end; an error if the text was cut short.
    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        match std::mem::replace(&mut self.decoder, Decoder::Finished) {
            Decoder::Gzip(decoder) if self.taken > 0 => decoder.finish(),
            Decoder::Gzip(_) | Decoder::Finished => Ok(Vec::new()),
            Decoder::Zstd { whole: true, .. } => Ok(Vec::new()),
            zstd @ Decoder::Zstd { .. } => {
                self.decoder = zstd;
                Err(std::io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

#[async_trait]
impl Input for Inflate {
    async fn read(&mut self) -> Result<Bytes> {
        loop {
            let more_inside = matches!(self.decoder, Decoder::Zstd { full: true, .. });
            if self.compressed.is_empty() && !more_inside {
                if self.ended {
                    return Ok(Bytes::new());
                }
                self.compressed = self.input.read().await?;
                if self.compressed.is_empty() {
                    self.ended = true;
                    return self.finish().map(Bytes::from).map_err(|error| self.cannot(error));
                }
            }
            let out = self.inflate().map_err(|error| self.cannot(error))?;
            if !out.is_empty() {
                return Ok(out.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;

    use super::super::input::Memory;
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn inflate(file: &[u8], piece: usize, compression: Compression) -> Result<Vec<u8>> {
        let pieces = file.chunks(piece).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let mut input = Inflate::new(Box::new(Memory::pieces(pieces)), compression, "x".to_owned());
        let mut text = Vec::new();
        loop {
            let block = input.read().await?;
            assert!(block.len() as u64 <= 2 * limits::SOURCE_BLOCK_BYTES, "bounded: {}", block.len());
            if block.is_empty() {
                return Ok(text);
            }
            text.extend_from_slice(&block);
        }
    }

    #[tokio::test]
    async fn inflates_however_it_is_split_and_joined() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        for (compression, pack) in
            [(Compression::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Compression::Zstd, zstd)]
        {
            let twice = [pack(&text), pack(b""), pack(&text)].concat();
            for piece in [997, 64 * 1024, 10_000_000] {
                assert_eq!(
                    inflate(&twice, piece, compression).await.unwrap(),
                    [text.clone(), text.clone()].concat()
                );
            }
            assert_eq!(inflate(b"", 1, compression).await.unwrap(), b"");
        }
    }

    #[tokio::test]
    async fn a_little_that_inflates_to_much_is_held_in_pieces() {
        let text = vec![0; 100 * limits::MIB as usize];
        for (compression, file) in [(Compression::Gzip, gzip(&text)), (Compression::Zstd, zstd(&text))] {
            assert_eq!(inflate(&file, 1 << 20, compression).await.unwrap().len(), text.len());
        }
    }

    #[tokio::test]
    async fn damage_is_told() {
        let text: Vec<u8> =
            (0..50_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        for (compression, file) in [(Compression::Gzip, gzip(&text)), (Compression::Zstd, zstd(&text))] {
            let cut = inflate(&file[..file.len() - 3], 4_096, compression).await.unwrap_err();
            assert!(cut.message().starts_with("cannot inflate `x` after"), "{cut}");
            let mut damaged = file.clone();
            damaged[file.len() / 2] ^= 0xff;
            assert!(inflate(&damaged, 4_096, compression).await.is_err());
            assert!(inflate(b"not compressed at all", 4_096, compression).await.is_err());
        }
    }
}
