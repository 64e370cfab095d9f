//! The first bytes of an input, looked at before they are read.

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};

use super::input::Input;
use crate::error::Result;
use crate::limits;

/// An input that returns again what was looked at.
pub(super) struct Head {
    first: Bytes,
    rest: Box<dyn Input>,
}

impl Head {
    /// Reads until `is_enough`, or to the end. Where the blocks of the input begin and end must make no difference, so
    /// `is_enough` and what is concluded from the bytes may depend on a beginning of the source alone.
    pub(super) async fn read(
        mut rest: Box<dyn Input>,
        is_enough: impl Fn(&[u8]) -> bool + Send,
    ) -> Result<Head> {
        let mut first = rest.read().await?;
        let mut ended = first.is_empty();
        while !ended && !is_enough(&first) {
            let more = rest.read().await?;
            ended = more.is_empty();
            let mut joined = BytesMut::from(first);
            joined.extend_from_slice(&more);
            first = joined.freeze();
        }
        Ok(Head { first, rest })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.first
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.first.advance(bytes);
    }
}

#[async_trait]
impl Input for Head {
    async fn read(&mut self) -> Result<Bytes> {
        if self.first.is_empty() {
            return self.rest.read().await;
        }
        let block = self.first.len().min(limits::SOURCE_BLOCK_BYTES as usize);
        Ok(self.first.split_to(block))
    }
}
