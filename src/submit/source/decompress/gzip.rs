//! gzip (RFC 1952)

use std::io::{self, Write as _};

use bytes::{Buf as _, Bytes};
use flate2::write::GzDecoder;

use super::{Decoder, Progress};
use crate::limits;

#[derive(Default)]
pub(super) struct Gzip(Option<GzDecoder<Vec<u8>>>);

impl Decoder for Gzip {
    fn restart(&mut self) {
        self.0 = None;
    }

    fn decode(&mut self, compressed: &mut Bytes, text: &mut Vec<u8>) -> io::Result<Progress> {
        let decoder = self.0.get_or_insert_with(|| GzDecoder::new(Vec::new()));
        while text.len() < limits::SOURCE_BLOCK_BYTES as usize {
            if compressed.is_empty() {
                return Ok(Progress::NeedsInput);
            }
            let piece = compressed.len().min(limits::INFLATE_PIECE_BYTES);
            let taken = decoder.write(&compressed[..piece])?;
            if taken == 0 {
                decoder.try_finish()?;
                text.append(decoder.get_mut());
                return Ok(Progress::EndOfStream);
            }
            compressed.advance(taken);
            text.append(decoder.get_mut());
        }
        Ok(Progress::Full)
    }

    fn finish(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut decoder) = self.0.take() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        // Behind a whole stream the decoder takes no byte.
        if !matches!(decoder.write(&[0]), Ok(0)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.try_finish()?;
        text.append(decoder.get_mut());
        Ok(())
    }
}
