//! xz. Its dictionary grows with the text, to what the file names and the limit allows.

use std::io;

use bytes::{Buf as _, Bytes};
use xz4rust::{DICT_SIZE_MIN, XzDecoder, XzError};

use super::{Decoder, Progress};
use crate::limits;

#[derive(Default)]
pub(super) struct Xz(Option<Box<XzDecoder<'static>>>);

impl Decoder for Xz {
    fn restart(&mut self) {
        if let Some(decoder) = &mut self.0 {
            decoder.reset();
        }
    }

    fn decode(&mut self, compressed: &mut Bytes, text: &mut Vec<u8>) -> io::Result<Progress> {
        let decoder = self.0.get_or_insert_with(|| {
            XzDecoder::in_heap_with_alloc_dict_size(DICT_SIZE_MIN, limits::XZ_DICTIONARY_BYTES_MAX)
        });
        text.resize(limits::SOURCE_BLOCK_BYTES as usize, 0);
        let decoded = match decoder.decode(compressed, text) {
            Ok(decoded) => decoded,
            Err(XzError::NeedsLargerInputBuffer) => {
                text.clear();
                return Ok(Progress::NeedsInput);
            }
            Err(error) => return Err(explained(error)),
        };
        compressed.advance(decoded.input_consumed());
        let is_full = decoded.output_produced() == text.len();
        text.truncate(decoded.output_produced());
        Ok(match decoded.is_end_of_stream() {
            true => Progress::EndOfStream,
            false if is_full => Progress::Full,
            false if decoded.made_progress() && !compressed.is_empty() => Progress::Full,
            false => Progress::NeedsInput,
        })
    }
}

fn explained(error: XzError) -> io::Error {
    let unsupported = |why| io::Error::new(io::ErrorKind::Unsupported, why);
    match error {
        XzError::DictionaryTooLarge(bytes) => {
            let (mib, most) =
                (bytes.div_ceil(limits::MIB), limits::XZ_DICTIONARY_BYTES_MAX as u64 / limits::MIB);
            unsupported(format!("it was made with a dictionary of {mib} MiB, the most is {most}"))
        }
        XzError::Sha256NotSupported => {
            unsupported("its blocks have SHA-256 checks (`xz --check=crc64` makes it again)".to_owned())
        }
        error => io::Error::other(error.to_string()),
    }
}
