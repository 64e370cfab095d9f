//! A body read page after page, so that memory stays small, and checked against its digest at the end.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::reading;
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::limits;
use crate::model::{Digest, Stored};
use crate::seam::store::{ByteRange, ETag};
use crate::seam::{Deps, StoreError};

/// What is recorded about the bytes.
struct Expected {
    bytes: Option<u64>,
    sha256: Digest,
}

/// A body, page after page.
pub struct Pages {
    deps: Deps,
    key: Key,
    expected: Option<Expected>,
    /// The error when the object is gone.
    gone: Option<String>,
    /// The whole body, if it is in memory.
    inline: Option<Bytes>,
    offset: u64,
    hasher: Sha256,
    /// ETag and length, from the first page. Every other page must be of the same object.
    object: Option<(ETag, u64)>,
    done: bool,
}

impl Pages {
    fn new(deps: &Deps, key: Key, expected: Option<Expected>) -> Pages {
        Pages {
            deps: deps.clone(),
            key,
            expected,
            gone: None,
            inline: None,
            offset: 0,
            hasher: Sha256::new(),
            object: None,
            done: false,
        }
    }

    pub(super) fn inline(deps: &Deps, body: Bytes) -> Pages {
        Pages { inline: Some(body), done: true, ..Pages::new(deps, Key::text(""), None) }
    }

    /// An object without a recorded digest.
    pub(super) fn unchecked(deps: &Deps, key: Key) -> Pages {
        Pages::new(deps, key, None)
    }

    /// An object with the size and the digest of the outcome.
    pub(super) fn of_stored(deps: &Deps, key: Key, stored: &Stored) -> Pages {
        Pages::new(deps, key, Some(Expected { bytes: Some(stored.bytes), sha256: stored.sha256.clone() }))
    }

    /// An object that must have this digest.
    pub(super) fn of_object(deps: &Deps, key: Key, sha256: Digest) -> Pages {
        Pages::new(deps, key, Some(Expected { bytes: None, sha256 }))
    }

    /// Says why, when the object is gone.
    pub(super) fn or_gone(mut self, why: String) -> Pages {
        self.gone = Some(why);
        self
    }

    /// The next page, never empty; `None` after the last. After an error the pages are not to be trusted.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(body) = self.inline.take().filter(|body| !body.is_empty()) {
            return Ok(Some(body));
        }
        if self.done {
            return Ok(None);
        }
        if self.object.as_ref().is_some_and(|(_, bytes)| self.offset == *bytes) {
            return self.end();
        }
        let range = ByteRange::Part { offset: self.offset, length: limits::READ_PAGE_BYTES };
        let page = match (self.deps.store.get(&self.key, range).await, self.gone.take()) {
            (Err(StoreError::NotFound), Some(why)) => return Err(Error::not_found(why)),
            (page, _) => page.map_err(reading(&self.key))?,
        };
        let (etag, bytes) = self.object.get_or_insert((page.info.etag.clone(), page.info.bytes));
        if *etag != page.info.etag || (page.body.is_empty() && self.offset < *bytes) {
            return Err(Error::internal(format!("object `{}` changed while it was read", self.key))
                .with_hint("results are written once: something else writes into this bucket"));
        }
        if page.body.is_empty() {
            return self.end();
        }
        self.hasher.update(&page.body);
        self.offset += page.body.len() as u64;
        Ok(Some(page.body))
    }

    /// After the last byte.
    fn end(&mut self) -> Result<Option<Bytes>> {
        self.done = true;
        let Some(expected) = &self.expected else { return Ok(None) };
        let digest = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        let bytes = expected.bytes.unwrap_or(self.offset);
        if self.offset == bytes && digest == expected.sha256 {
            return Ok(None);
        }
        Err(Error::internal(format!(
            "object `{}` is not what was recorded: {} bytes with SHA-256 {digest} instead of {bytes} with {}",
            self.key, self.offset, expected.sha256
        ))
        .with_hint("results are written once: something else writes into this bucket"))
    }
}
