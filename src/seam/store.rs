//! The store: objects under keys, as S3 has them and as much of S3 as the protocols need.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::{Body, BodyWriter, BodyWriterError};
use super::unreached::Unreached;
use crate::error::{Code, Error};
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
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError>;

    /// Reads an object, or the part of it that `range` names; [`StoreError::NotFound`] if there is none. A range that
    /// begins at or past the end gives an empty body.
    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError>;

    /// What [`Store::get`] says of an object, without its body.
    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError>;

    /// Keys under a prefix, in ascending byte order, strictly after `start_after`. With `group`, keys that have a `/`
    /// after the prefix are answered as common prefixes (up to and with that slash), once each. One page: no more
    /// than `max` entries and prefixes together (at most [`limits::LIST_PAGE_MAX`]), and no snapshot: what is written meanwhile may or may not be seen.
    async fn list(&self, request: &List) -> Result<Listed, StoreError>;

    /// Deletes objects; one that is not there is no error. At most [`crate::limits::LIST_PAGE_MAX`] keys. Not atomic:
    /// after an error some may be gone.
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError>;
}

/// Opaque; differs whenever the bytes differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(pub String);

/// An object to be written.
#[derive(Debug, Clone)]
pub struct PutObject {
    pub body: Body,
    pub mode: Put,
    pub content_type: Option<String>,
    /// Facts that ride on the object: printable ASCII, at most [`crate::limits::NOTE_BYTES_MAX`].
    pub note: Option<String>,
}

impl PutObject {
    pub fn create(body: impl Into<Body>) -> PutObject {
        PutObject { body: body.into(), mode: Put::Create, content_type: None, note: None }
    }

    pub fn replace(body: impl Into<Body>, etag: ETag) -> PutObject {
        PutObject { body: body.into(), mode: Put::Replace(etag), content_type: None, note: None }
    }

    pub fn content_type(mut self, content_type: impl Into<String>) -> PutObject {
        self.content_type = Some(content_type.into());
        self
    }

    pub fn note(mut self, note: String) -> PutObject {
        self.note = Some(note);
        self
    }

    /// What every store refuses, checked before anything is sent.
    pub fn check(&self, key: &str) -> Result<(), StoreError> {
        if key.is_empty() || key.len() > limits::OBJECT_KEY_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "a key of {} bytes, it must have 1 to {}",
                key.len(),
                limits::OBJECT_KEY_BYTES_MAX
            )));
        }
        let Some(note) = &self.note else { return Ok(()) };
        if note.len() as u64 > limits::NOTE_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "a note of {} bytes on `{key}`, the most is {}",
                note.len(),
                limits::NOTE_BYTES_MAX
            )));
        }
        if let Some(bad) = note.chars().find(|c| !(' '..='~').contains(c)) {
            return Err(StoreError::Refused(format!(
                "a note with {bad:?} on `{key}`, it must be printable ASCII"
            )));
        }
        Ok(())
    }
}

/// What every store refuses to delete at once.
pub fn check_delete(keys: &[String]) -> Result<(), StoreError> {
    if keys.len() > limits::LIST_PAGE_MAX {
        return Err(StoreError::Refused(format!(
            "{} keys in one delete, the most is {}",
            keys.len(),
            limits::LIST_PAGE_MAX
        )));
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    All,
    /// `length` bytes from `offset`, or what there is of them.
    Part {
        offset: u64,
        length: u64,
    },
    /// The last bytes, or all if there are fewer.
    Last(u64),
}

impl Range {
    /// The bytes of an object of `size` that this names.
    pub fn within(self, size: u64) -> std::ops::Range<u64> {
        match self {
            Range::All => 0..size,
            Range::Part { offset, length } => {
                let start = offset.min(size);
                start..start.saturating_add(length).min(size)
            }
            Range::Last(length) => size.saturating_sub(length)..size,
        }
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
    pub note: Option<String>,
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

    pub fn start_after(mut self, key: impl Into<String>) -> List {
        self.start_after = Some(key.into());
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
pub struct Listed {
    pub entries: Vec<Entry>,
    pub prefixes: Vec<String>,
    /// There is more: what to give as `start_after` to go on.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub bytes: u64,
    pub etag: ETag,
    pub modified_at: Time,
}

/// What to give as `start_after` to go on behind a common prefix: sorts after every key under it that has no
/// U+10FFFF there, and before every other key. (The next character after the slash would not do: a key may end in it.)
pub fn past_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// What a store answers when it does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    NotFound,
    /// A create found an object there.
    Exists,
    /// A replace found another ETag.
    Changed,
    /// It was not done, and may be asked again: 503, or 409 of a conditional write that crossed another. A 409 never
    /// means that the object exists.
    Busy(String),
    /// It was not done, and may be asked again: nobody is there.
    Unreached(Unreached),
    /// It may or may not have been done: no answer came. To be asked again until known.
    Lost(String),
    /// It will not be done: access denied, no such bucket, wrong request.
    Refused(String),
}

impl StoreError {
    pub fn is_retryable(&self) -> bool {
        match self {
            StoreError::Busy(_) | StoreError::Lost(_) => true,
            StoreError::Unreached(unreached) => unreached.may_come,
            StoreError::NotFound | StoreError::Exists | StoreError::Changed | StoreError::Refused(_) => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NotFound => f.write_str("no such object"),
            StoreError::Exists => f.write_str("the object exists already"),
            StoreError::Changed => f.write_str("the object was changed by somebody else"),
            StoreError::Busy(why) => write!(f, "the store is busy: {why}"),
            StoreError::Unreached(unreached) => unreached.fmt(f),
            StoreError::Lost(why) => write!(f, "the store did not answer: {why}"),
            StoreError::Refused(why) => write!(f, "the store refused: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let code = match error {
            StoreError::Unreached(unreached) => return unreached.into(),
            StoreError::NotFound => Code::NotFound,
            StoreError::Exists | StoreError::Changed => Code::Conflict,
            StoreError::Busy(_) | StoreError::Lost(_) | StoreError::Refused(_) => Code::Unreachable,
        };
        let error = Error::new(code, error.to_string());
        if code == Code::Unreachable { error.hint("`afn doctor` tells what is wrong") } else { error }
    }
}

/// Comfort on top of [`Store`].
#[async_trait]
pub trait StoreExt: Store {
    /// `None` instead of [`StoreError::NotFound`].
    async fn find(&self, key: &str) -> Result<Option<Object>, StoreError> {
        match self.get(key, Range::All).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An object of which no more than a page is ever in memory. [`StoreError::Changed`]: it has become another one
    /// while it was read.
    async fn stream(&self, key: &str, bytes_max: u64) -> Result<(Body, ObjectInfo), StoreError> {
        let mut writer = BodyWriter::new(bytes_max);
        let mut offset = 0;
        let mut first: Option<ObjectInfo> = None;
        loop {
            let range = Range::Part { offset, length: limits::READ_PAGE_BYTES };
            let Object { body, info } = self.get(key, range).await?;
            let first = first.get_or_insert(info.clone());
            if first.etag != info.etag {
                return Err(StoreError::Changed);
            }
            writer.write(&body).map_err(|error| {
                StoreError::Refused(match error {
                    BodyWriterError::TooLarge { bytes_max } => {
                        format!("`{key}` has more than {bytes_max} bytes")
                    }
                    BodyWriterError::Io(error) => format!("cannot spool `{key}`: {error}"),
                })
            })?;
            offset += body.len() as u64;
            if offset >= info.bytes || body.is_empty() {
                return Ok((writer.finish(), info));
            }
        }
    }

    /// Every entry under a prefix, page by page. Only for prefixes that are small by their nature.
    async fn list_all(&self, mut request: List) -> Result<Listed, StoreError> {
        let mut all = Listed::default();
        loop {
            let page = self.list(&request).await?;
            all.entries.extend(page.entries);
            all.prefixes.extend(page.prefixes);
            match page.next {
                Some(next) => request.start_after = Some(next),
                None => return Ok(all),
            }
        }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
