//! S3 as a [`Store`]. A context's key prefix is put before every key here and taken off again.

use async_trait::async_trait;
use aws_sdk_s3::primitives::{ByteStream, DateTime, SdkBody};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::config::{self, Connection};
use super::errors::{Address, Answer, Failure, Wanted, store_error};
use crate::limits;
use crate::model::Time;
use crate::seam::body::{Body, Spool};
use crate::seam::store::{
    ETag, Entry, List, Listed, Object, ObjectInfo, Put, PutObject, Range, Store, StoreError, past_prefix,
};

/// The one entry of metadata that carries an object's note: `x-amz-meta-afn`.
const NOTE: &str = "afn";
/// What S3 itself calls a body of unknown type; the SDK would name one that callers use.
const UNTYPED: &str = "binary/octet-stream";
/// Of a spooled body, what is read at a time.
const PIECE_BYTES: usize = 256 * limits::KIB as usize;

#[derive(Debug, Clone)]
pub struct S3Store {
    client: aws_sdk_s3::Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    address: Address,
}

impl S3Store {
    pub fn new(connection: &Connection, bucket: &str, prefix: &str) -> S3Store {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (client, address) = (connection.s3.clone(), connection.address.clone());
        S3Store { client, bucket: bucket.to_owned(), prefix, address }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn bare(&self, key: &str) -> Result<String, StoreError> {
        key.strip_prefix(&self.prefix).map(str::to_owned).ok_or_else(|| {
            StoreError::Refused(format!("S3 listed `{key}`, which does not begin with `{}`", self.prefix))
        })
    }

    fn error(&self, failure: impl Into<Failure>, wanted: Wanted) -> StoreError {
        store_error(failure.into().at(&self.address), wanted, &self.bucket)
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        if let Some(note) = &object.note {
            check_note(note)?;
        }
        let bytes = object.body.len();
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .body(stream(object.body))
            .content_length(bytes as i64)
            .content_type(object.content_type.as_deref().unwrap_or(UNTYPED))
            .set_metadata(object.note.map(|note| [(NOTE.to_owned(), note)].into()));
        let (request, wanted) = match object.mode {
            Put::Create => (request.if_none_match("*"), Wanted::Create),
            Put::Replace(etag) => (request.if_match(etag.0), Wanted::Replace),
        };
        let timeouts = config::timeouts(config::upload_time(bytes));
        let sent = request
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
            .send()
            .await;
        let put = sent.map_err(|error| self.error(error, wanted))?;
        etag(put.e_tag)
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        let header = match range {
            Range::All => None,
            // A header cannot name an empty range.
            Range::Part { length: 0, .. } | Range::Last(0) => return self.empty(key).await,
            Range::Part { offset, length } => {
                Some(format!("bytes={offset}-{}", offset.saturating_add(length - 1)))
            }
            Range::Last(length) => Some(format!("bytes=-{length}")),
        };
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(header);
        let got = match request.send().await.map_err(Failure::from) {
            Ok(got) => got,
            Err(Failure::Answer(Answer { status: 416, .. })) => return self.empty(key).await,
            Err(failure) => return Err(self.error(failure, Wanted::Other)),
        };
        let length = got.content_length.unwrap_or_default().max(0) as u64;
        let info = ObjectInfo {
            bytes: got.content_range.as_deref().and_then(size_of_whole).unwrap_or(length),
            etag: etag(got.e_tag)?,
            modified_at: time(got.last_modified),
            content_type: typed(got.content_type),
            note: got.metadata.and_then(|mut metadata| metadata.remove(NOTE)),
        };
        let lost = |error: &dyn std::fmt::Display| StoreError::Lost(format!("the body broke off: {error}"));
        let body = got.body.collect().await.map_err(|error| lost(&error))?.into_bytes();
        if body.len() as u64 != length {
            return Err(lost(&format_args!("{} of {length} bytes came", body.len())));
        }
        Ok(Object { body, info })
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let head = request.send().await.map_err(|error| self.error(error, Wanted::Other))?;
        Ok(ObjectInfo {
            bytes: head.content_length.unwrap_or_default().max(0) as u64,
            etag: etag(head.e_tag)?,
            modified_at: time(head.last_modified),
            content_type: typed(head.content_type),
            note: head.metadata.and_then(|mut metadata| metadata.remove(NOTE)),
        })
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        let max = request.max.clamp(1, limits::LIST_PAGE_MAX);
        let listed = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full(&request.prefix))
            .set_start_after(request.start_after.as_ref().map(|key| self.full(key)))
            .set_delimiter(request.group.then(|| "/".to_owned()))
            .max_keys(max as i32)
            .send()
            .await
            .map_err(|error| self.error(error, Wanted::Other))?;
        let mut page = Listed::default();
        for object in listed.contents.unwrap_or_default() {
            page.entries.push(Entry {
                key: self.bare(object.key.as_deref().unwrap_or_default())?,
                bytes: object.size.unwrap_or_default().max(0) as u64,
                etag: etag(object.e_tag)?,
                modified_at: time(object.last_modified),
            });
        }
        for prefix in listed.common_prefixes.unwrap_or_default() {
            page.prefixes.push(self.bare(prefix.prefix.as_deref().unwrap_or_default())?);
        }
        if listed.is_truncated == Some(true) {
            let last_key = page.entries.last().map(|entry| entry.key.clone());
            let last_prefix = page.prefixes.last().map(|prefix| past_prefix(prefix));
            page.next = last_key.max(last_prefix);
        }
        Ok(page)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        if keys.len() > limits::LIST_PAGE_MAX {
            return Err(StoreError::Refused(format!(
                "{} keys in one delete, the most is {}",
                keys.len(),
                limits::LIST_PAGE_MAX
            )));
        }
        let impossible = |error: aws_sdk_s3::error::BuildError| StoreError::Refused(error.to_string());
        let mut delete = Delete::builder().quiet(true);
        for key in keys {
            delete =
                delete.objects(ObjectIdentifier::builder().key(self.full(key)).build().map_err(impossible)?);
        }
        let delete = delete.build().map_err(impossible)?;
        let request = self.client.delete_objects().bucket(&self.bucket).delete(delete);
        let deleted = request.send().await.map_err(|error| self.error(error, Wanted::Other))?;
        match deleted.errors.unwrap_or_default().into_iter().next() {
            None => Ok(()),
            Some(error) => {
                let code = error.code.unwrap_or_default();
                // Key by key there is no status: access is ours to mend, all else is the service's.
                let status = if code == "AccessDenied" { 403 } else { 500 };
                let answer = Answer { status, code, message: error.message.unwrap_or_default() };
                Err(self.error(Failure::Answer(answer), Wanted::Other))
            }
        }
    }
}

impl S3Store {
    /// Of a range that S3 has no bytes for.
    async fn empty(&self, key: &str) -> Result<Object, StoreError> {
        Ok(Object { body: Bytes::new(), info: self.head(key).await? })
    }
}

/// What does not fit a header is refused here: S3 would answer with an error of signature, or with other bytes later.
fn check_note(note: &str) -> Result<(), StoreError> {
    if note.len() as u64 > limits::NOTE_BYTES_MAX {
        return Err(StoreError::Refused(format!(
            "a note of {} bytes, the most is {}",
            note.len(),
            limits::NOTE_BYTES_MAX
        )));
    }
    match note.chars().find(|c| !matches!(c, ' '..='~')) {
        Some(c) => Err(StoreError::Refused(format!("a note with {c:?}, which is not printable ASCII"))),
        None => Ok(()),
    }
}

fn stream(body: Body) -> ByteStream {
    match body {
        Body::Bytes(bytes) => ByteStream::from(bytes),
        Body::Spool(spool) => ByteStream::new(SdkBody::retryable(move || spooled(spool.clone()))),
    }
}

/// Reads the file while it is sent: no more than a piece of it is ever in memory.
fn spooled(spool: Spool) -> SdkBody {
    let pieces = futures_util::stream::unfold(0, move |offset| {
        let spool = spool.clone();
        async move {
            if offset >= spool.len() {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || spool.read_at(offset, PIECE_BYTES)).await;
            let piece = read.map_err(std::io::Error::other).flatten();
            let end = offset + piece.as_ref().map_or(0, |piece| piece.len() as u64);
            Some((piece.map(Frame::data), end))
        }
    });
    // Who encodes it in chunks asks again after the end.
    SdkBody::from_body_1_x(StreamBody::new(pieces.fuse()))
}

fn etag(etag: Option<String>) -> Result<ETag, StoreError> {
    etag.map(ETag).ok_or_else(|| StoreError::Lost("S3 answered without an ETag".to_owned()))
}

fn time(time: Option<DateTime>) -> Time {
    Time(time.and_then(|time| time.to_millis().ok()).unwrap_or_default().max(0) as u64)
}

fn typed(content_type: Option<String>) -> Option<String> {
    content_type.filter(|content_type| content_type != UNTYPED)
}

/// `bytes 0-9/100` → 100.
fn size_of_whole(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}
