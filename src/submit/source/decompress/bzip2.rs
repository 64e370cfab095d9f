//! bzip2, as one program or several at once write it (pbzip2, lbzip2)

use std::io;

use bytes::{Buf as _, Bytes};
use bzip2::{Decompress, Status};

use super::{Decoder, Progress};
use crate::limits;

#[derive(Default)]
pub(super) struct Bzip2(Option<Decompress>);

impl Decoder for Bzip2 {
    fn restart(&mut self) {
        self.0 = None;
    }

    fn decode(&mut self, compressed: &mut Bytes, text: &mut Vec<u8>) -> io::Result<Progress> {
        let decoder = self.0.get_or_insert_with(|| Decompress::new(false));
        text.resize(limits::SOURCE_BLOCK_BYTES as usize, 0);
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(compressed, text).map_err(io::Error::other)?;
        compressed.advance((decoder.total_in() - read) as usize);
        let written = (decoder.total_out() - written) as usize;
        let is_full = written == text.len();
        text.truncate(written);
        Ok(match status {
            Status::StreamEnd => Progress::EndOfStream,
            _ if is_full || !compressed.is_empty() => Progress::Full,
            _ => Progress::NeedsInput,
        })
    }
}
