//! The store: objects under keys, as S3 has them and as much of S3 as the protocols need.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};

use super::body::Body;
use super::failure::{RequestError, RequestFailure, Unreached, explain, request_error};
pub use super::store_ext::{Created, StoreExt};
use crate::error::{Code, Error};
use crate::layout::Key;
use crate::limits;
use crate::model::Time;

/// Object storage with conditional writes. Every method may be repeated; none keeps state between calls.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes an object whole, or not at all.
    ///
    /// - [`Put::Create`] succeeds for exactly one of any number of concurrent writers; the others get
    ///   [`StoreError::Exists`], also when the object is their own and only the answer was lost.
    /// - [`Put::Replace`] succeeds only while the object's ETag is the given one; else [`StoreError::Changed`], and
    ///   [`StoreError::NotFound`] when there is no object.
    ///
    /// Once a put has been answered, every later get, head and list sees it.
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError>;

    /// Reads an object, or the part of it that `range` names; [`StoreError::NotFound`] if there is none. A range that
    /// begins at or past the end gives an empty body. [`StoreError::TooLarge`] comes before any of the body is read.
    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError>;

    /// Reads an object, or a part of it, only while it is the one that `version` names; [`StoreError::Changed`] if there is
    /// another.
    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        let object = self.get(key, range).await?;
        if object.info.etag == version.etag { Ok(object) } else { Err(StoreError::Changed) }
    }

    /// What [`Store::get`] says of an object, without its body.
    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError>;

    /// Keys under a prefix, in ascending byte order, strictly after `start_after`. With `group`, keys that have a `/`
    /// after the prefix are answered as common prefixes (up to and with that slash), once each. One page: no more
    /// than `max` entries and prefixes together (at most [`limits::LIST_PAGE_MAX`]), and no snapshot: what is written meanwhile may or may not be seen.
    async fn list(&self, request: &List) -> Result<ListPage, StoreError>;

    /// Deletes objects; one that is not there is no error. At most [`crate::limits::LIST_PAGE_MAX`] keys. Not atomic:
    /// after an error some may be gone.
    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError>;

    /// Ends when an object may have been written at `key` since this was called. A store that sends no notifications
    /// never ends it, so callers race it against a pause, and look at the key before they await it.
    fn created(&self, _key: &Key) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

/// Opaque; differs whenever the bytes differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(pub String);

/// One of the objects that a key names in the course of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    pub etag: ETag,
    /// In a bucket with versions: it can be read also when it is no longer the latest.
    pub id: Option<String>,
}

/// An object to be written.
#[derive(Debug, Clone)]
pub struct PutObject {
    pub body: Body,
    pub mode: Put,
    pub content_type: Option<String>,
    /// Facts beside the body: printable ASCII, at most [`crate::limits::METADATA_BYTES_MAX`].
    pub metadata: Option<String>,
}

impl PutObject {
    pub fn create(body: impl Into<Body>) -> PutObject {
        PutObject { body: body.into(), mode: Put::Create, content_type: None, metadata: None }
    }

    pub fn replace(body: impl Into<Body>, etag: ETag) -> PutObject {
        PutObject { body: body.into(), mode: Put::Replace(etag), content_type: None, metadata: None }
    }

    pub fn content_type(mut self, content_type: impl Into<String>) -> PutObject {
        self.content_type = Some(content_type.into());
        self
    }

    pub fn metadata(mut self, metadata: String) -> PutObject {
        self.metadata = Some(metadata);
        self
    }

    /// What every store refuses, checked before anything is sent.
    pub fn check(&self, key: &str) -> Result<(), StoreError> {
        if key.is_empty() || key.len() > limits::OBJECT_KEY_BYTES_MAX {
            let (bytes, most) = (key.len(), limits::OBJECT_KEY_BYTES_MAX);
            return Err(StoreError::Refused(format!("a key of {bytes} bytes, it must have 1 to {most}")));
        }
        let Some(metadata) = &self.metadata else { return Ok(()) };
        if metadata.len() as u64 > limits::METADATA_BYTES_MAX {
            let (bytes, most) = (metadata.len(), limits::METADATA_BYTES_MAX);
            let why = format!("metadata of {bytes} bytes on `{key}`, the most is {most}");
            return Err(StoreError::Refused(why));
        }
        if let Some(bad) = metadata.chars().find(|c| !(' '..='~').contains(c)) {
            let why = format!("metadata with {bad:?} on `{key}`, it must be printable ASCII");
            return Err(StoreError::Refused(why));
        }
        Ok(())
    }
}

/// What every store refuses to delete at once.
pub fn check_delete(keys: &[Key]) -> Result<(), StoreError> {
    if keys.len() > limits::LIST_PAGE_MAX {
        let (count, most) = (keys.len(), limits::LIST_PAGE_MAX);
        return Err(StoreError::Refused(format!("{count} keys in one delete, the most is {most}")));
    }
    Ok(())
}

/// On what condition an object is written; there is no unconditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Only if there is none (`If-None-Match: *`).
    Create,
    /// Only if it is still this one (`If-Match`).
    Replace(ETag),
}

impl Put {
    /// Whether an object may be written where the one with the ETag `existing` is.
    pub fn check(&self, existing: Option<&ETag>) -> Result<(), StoreError> {
        match (self, existing) {
            (Put::Create, Some(_)) => Err(StoreError::Exists),
            (Put::Replace(_), None) => Err(StoreError::NotFound),
            (Put::Replace(expected), Some(existing)) if existing != expected => Err(StoreError::Changed),
            (Put::Create, None) | (Put::Replace(_), Some(_)) => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it, if it has at most so many bytes; else [`StoreError::TooLarge`].
    Whole(u64),
    /// `length` bytes from `offset`, or what there is of them.
    Part { offset: u64, length: u64 },
    /// The last bytes, or all if there are fewer.
    Last(u64),
}

impl ByteRange {
    /// The bytes of an object of `size` that this names.
    pub fn within(self, size: u64) -> std::ops::Range<u64> {
        match self {
            ByteRange::Whole(_) => 0..size,
            ByteRange::Part { offset, length } => {
                let start = offset.min(size);
                start..start.saturating_add(length).min(size)
            }
            ByteRange::Last(length) => size.saturating_sub(length)..size,
        }
    }

    /// Whether an object of `bytes` may be read like this.
    pub fn check(self, key: &Key, bytes: u64) -> Result<(), StoreError> {
        match self {
            ByteRange::Whole(bytes_max) => check_bytes(key, bytes, bytes_max),
            ByteRange::Part { .. } | ByteRange::Last(_) => Ok(()),
        }
    }
}

pub(super) fn check_bytes(key: &Key, bytes: u64, bytes_max: u64) -> Result<(), StoreError> {
    match bytes > bytes_max {
        true => Err(StoreError::TooLarge { key: key.to_string(), bytes, bytes_max }),
        false => Ok(()),
    }
}

#[derive(Debug, Clone)]
pub struct Object {
    pub body: Bytes,
    pub info: ObjectInfo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Of the whole object, whatever range was asked for.
    pub bytes: u64,
    pub etag: ETag,
    /// By the store's clock.
    pub modified_at: Time,
    pub content_type: Option<String>,
    pub metadata: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub prefix: String,
    pub start_after: Option<String>,
    pub group: bool,
    pub max: usize,
}

impl List {
    pub fn all(prefix: impl Into<String>) -> List {
        List { prefix: prefix.into(), start_after: None, group: false, max: limits::LIST_PAGE_MAX }
    }

    pub fn grouped(prefix: impl Into<String>) -> List {
        List { group: true, ..List::all(prefix) }
    }

    pub fn start_after(mut self, key: impl ToString) -> List {
        self.start_after = Some(key.to_string());
        self
    }

    pub fn max(mut self, max: usize) -> List {
        self.max = max;
        self
    }

    /// The entries and prefixes that one page may have.
    pub fn page(&self) -> usize {
        self.max.clamp(1, limits::LIST_PAGE_MAX)
    }

    /// The common prefix that stands for a key under this list's prefix, if it is grouped and has one.
    pub fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let rest = key.strip_prefix(&self.prefix).filter(|_| self.group)?;
        rest.find('/').map(|slash| &key[..self.prefix.len() + slash + 1])
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    pub entries: Vec<ListEntry>,
    pub prefixes: Vec<String>,
    /// There is more: what to give as `start_after` to go on.
    pub next: Option<String>,
}

impl ListPage {
    /// The names of the folders under a prefix, as far as they are names.
    pub fn folders<N: FromStr>(&self, prefix: &str) -> impl Iterator<Item = N> {
        self.prefixes
            .iter()
            .filter_map(move |folder| folder.strip_prefix(prefix)?.strip_suffix('/')?.parse().ok())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    pub key: String,
    pub bytes: u64,
    pub etag: ETag,
    pub modified_at: Time,
}

impl ListEntry {
    pub fn to_key(&self) -> Key {
        Key::text(&self.key)
    }
}

/// What to give as `start_after` to go on behind a common prefix: sorts after every key under it that has no
/// U+10FFFF there, and before every other key. (The next character after the slash would not do: a key may end in it.)
pub fn past_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// What a store answers when it does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// There is no object under this key.
    NotFound,
    /// A create found an object there.
    Exists,
    /// A replace found another ETag.
    Changed,
    /// The store turned the request away for now (503, or 409 of a conditional write that crossed another). Nothing was
    /// done. It is safe to repeat. A 409 never means that the object exists.
    Busy(String),
    /// The request was not sent (connection refused). It is safe to repeat.
    Unreached(Unreached),
    /// No answer came. The request may or may not have been done: repeat it until that is known.
    Lost(String),
    /// The store will not do it: access denied, no such bucket, wrong request.
    Refused(String),
    /// The object has more bytes than its reader or writer accepts.
    TooLarge { key: String, bytes: u64, bytes_max: u64 },
}

request_error!(StoreError: Busy, Unreached, Lost, Refused);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NotFound => f.write_str("no such object"),
            StoreError::Exists => f.write_str("the object exists already"),
            StoreError::Changed => f.write_str("the object was changed by somebody else"),
            StoreError::TooLarge { key, bytes, bytes_max } => {
                write!(f, "object `{key}` has {bytes} bytes, the most is {bytes_max}")
            }
            error => {
                f.write_str(&error.failure().expect("all other variants are failures").describe("store"))
            }
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let code = match &error {
            StoreError::NotFound => Code::NotFound,
            StoreError::Exists | StoreError::Changed => Code::Conflict,
            _ => Code::Internal,
        };
        explain(error, code)
    }
}
