//! Zstandard (RFC 8878). A frame that readers skip is a stream without text.

use std::io;

use bytes::{Buf as _, Bytes};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation as _};

use super::{Decoder, Progress};
use crate::limits;

/// The decoder allocates its window when a frame begins.
#[derive(Default)]
pub(super) struct Zstd(Option<ZstdDecoder<'static>>);

impl Decoder for Zstd {
    fn restart(&mut self) {}

    fn decode(&mut self, compressed: &mut Bytes, text: &mut Vec<u8>) -> io::Result<Progress> {
        let decoder = match &mut self.0 {
            Some(decoder) => decoder,
            made @ None => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG_MAX))?;
                made.insert(decoder)
            }
        };
        text.resize(limits::SOURCE_BLOCK_BYTES as usize, 0);
        let status = decoder.run_on_buffers(compressed, text).map_err(explained)?;
        compressed.advance(status.bytes_read);
        let is_full = status.bytes_written == text.len();
        text.truncate(status.bytes_written);
        Ok(match status.remaining {
            0 => Progress::EndOfStream,
            _ if is_full || !compressed.is_empty() => Progress::Full,
            _ => Progress::NeedsInput,
        })
    }
}

fn explained(error: io::Error) -> io::Error {
    if error.to_string().contains("too much memory") {
        let mib = (1u64 << limits::ZSTD_WINDOW_LOG_MAX) / limits::MIB;
        let why = format!(
            "it was made with a window of more than {mib} MiB (`zstd --long={}` or less)",
            limits::ZSTD_WINDOW_LOG_MAX
        );
        return io::Error::new(io::ErrorKind::Unsupported, why);
    }
    error
}
