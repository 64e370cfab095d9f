//! S3 as a [`Store`]. A context's key prefix is put before every key here and taken off again.

use async_trait::async_trait;
use aws_sdk_s3::primitives::{ByteStream, DateTime, SdkBody};
use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use percent_encoding::percent_decode_str;

use super::config::{self, Connection};
use super::errors::{Answer, Endpoint, Failure, Wanted, store_error};
use crate::layout::Key;
use crate::model::Time;
use crate::seam::store::{
    ByteRange, ETag, List, ListEntry, ListPage, Object, ObjectInfo, ObjectVersion, Put, PutObject, Store,
    StoreError, check_delete, past_prefix,
};
use crate::seam::{Body, Unreached};

/// The one entry of S3's metadata that carries ours: `x-amz-meta-afn`.
const METADATA: &str = "afn";
/// What S3 itself calls a body of unknown type; the SDK would name one that callers use.
const UNTYPED: &str = "binary/octet-stream";

const NO_SOURCE: &str = "see that the bucket's name is right; `--source-region` and `--source-profile` reach one of another region or account";

#[derive(Debug, Clone)]
pub struct S3Store {
    client: aws_sdk_s3::Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    endpoint: Endpoint,
    /// It is no context's: a user named it as a source.
    is_source: bool,
}

impl S3Store {
    /// A bucket that a user named as a source.
    pub fn of_source(connection: &Connection, bucket: &str) -> S3Store {
        S3Store { is_source: true, ..S3Store::new(connection, bucket, "") }
    }

    pub fn new(connection: &Connection, bucket: &str, prefix: &str) -> S3Store {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (client, endpoint) = (connection.s3.clone(), connection.endpoint.clone());
        S3Store { client, bucket: bucket.to_owned(), prefix, endpoint, is_source: false }
    }

    fn full(&self, key: impl std::fmt::Display) -> String {
        format!("{}{key}", self.prefix)
    }

    fn bare(&self, key: &str) -> Result<String, StoreError> {
        key.strip_prefix(&self.prefix).map(str::to_owned).ok_or_else(|| {
            StoreError::Refused(format!("S3 listed `{key}`, which does not begin with `{}`", self.prefix))
        })
    }

    async fn error(&self, failure: impl Into<Failure>, wanted: Wanted) -> StoreError {
        let failure = failure.into().at(&self.endpoint);
        let is_no_bucket = matches!(&failure, Failure::Answer(answer) if answer.code == "NoSuchBucket");
        let error = self.endpoint.locate(store_error(failure, wanted, &self.bucket)).await;
        match error {
            // Its objects will never be read. That ends calls, and keeps no worker from others.
            StoreError::Unreached(of) if is_no_bucket && wanted == Wanted::Version => {
                StoreError::Refused(of.to_string())
            }
            StoreError::Unreached(of) if is_no_bucket && self.is_source => {
                StoreError::Unreached(Unreached { hint: NO_SOURCE.to_owned(), ..of })
            }
            error => error,
        }
    }

    async fn answer<T>(
        &self,
        answer: Result<T, impl Into<Failure>>,
        wanted: Wanted,
    ) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(self.error(failure, wanted).await),
        }
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        // S3 would answer with an error of signature, or with other bytes later.
        object.check(&self.full(key))?;
        let bytes = object.body.len();
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .body(stream(object.body))
            .content_length(bytes as i64)
            .content_type(object.content_type.as_deref().unwrap_or(UNTYPED))
            .set_metadata(object.metadata.map(|metadata| [(METADATA.to_owned(), metadata)].into()));
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
        let put = self.answer(sent, wanted).await?;
        etag(put.e_tag)
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.read(key, None, range).await
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        self.read(key, Some(version), range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let head = self.answer(request.send().await, Wanted::Other).await?;
        Ok(ObjectInfo {
            bytes: head.content_length.unwrap_or_default().max(0) as u64,
            etag: etag(head.e_tag)?,
            modified_at: time(head.last_modified),
            content_type: typed(head.content_type),
            metadata: head.metadata.and_then(|mut metadata| metadata.remove(METADATA)),
        })
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full(&request.prefix))
            .set_start_after(request.start_after.as_ref().map(|key| self.full(key)))
            .set_delimiter(request.group.then(|| "/".to_owned()))
            // XML has no way to write most control characters, which keys may have.
            .encoding_type(EncodingType::Url)
            .max_keys(request.page() as i32);
        let listed = self.answer(request.send().await, Wanted::Other).await?;
        let mut page = ListPage::default();
        for object in listed.contents.unwrap_or_default() {
            page.entries.push(ListEntry {
                key: self.bare(&decoded(object.key.as_deref().unwrap_or_default())?)?,
                bytes: object.size.unwrap_or_default().max(0) as u64,
                etag: etag(object.e_tag)?,
                modified_at: time(object.last_modified),
            });
        }
        for prefix in listed.common_prefixes.unwrap_or_default() {
            page.prefixes.push(self.bare(&decoded(prefix.prefix.as_deref().unwrap_or_default())?)?);
        }
        if listed.is_truncated == Some(true) {
            let last_key = page.entries.last().map(|entry| entry.key.clone());
            let last_prefix = page.prefixes.last().map(|prefix| past_prefix(prefix));
            page.next = last_key.max(last_prefix);
        }
        Ok(page)
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        check_delete(keys)?;
        let mut delete = Delete::builder().quiet(true);
        for key in keys {
            let key = ObjectIdentifier::builder().key(self.full(key)).build();
            delete = delete.objects(self.answer(key, Wanted::Other).await?);
        }
        let delete = self.answer(delete.build(), Wanted::Other).await?;
        let request = self.client.delete_objects().bucket(&self.bucket).delete(delete);
        let deleted = self.answer(request.send().await, Wanted::Other).await?;
        match deleted.errors.unwrap_or_default().into_iter().next() {
            None => Ok(()),
            Some(error) => {
                let code = error.code.unwrap_or_default();
                // Key by key there is no status: access is ours to mend, all else is the service's.
                let status = if code == "AccessDenied" { 403 } else { 500 };
                let answer = Answer { status, code, message: error.message.unwrap_or_default() };
                Err(self.error(Failure::Answer(answer), Wanted::Other).await)
            }
        }
    }
}

impl S3Store {
    async fn read(
        &self,
        key: &Key,
        version: Option<&ObjectVersion>,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        let header = match range {
            ByteRange::Whole(_) => None,
            // A header cannot name an empty range.
            ByteRange::Part { length: 0, .. } | ByteRange::Last(0) => return self.empty(key).await,
            ByteRange::Part { offset, length } => {
                Some(format!("bytes={offset}-{}", offset.saturating_add(length - 1)))
            }
            ByteRange::Last(length) => Some(format!("bytes=-{length}")),
        };
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .set_range(header)
            .set_if_match(version.map(|version| version.etag.0.clone()))
            .set_version_id(version.and_then(|version| version.id.clone()));
        let wanted = if version.is_some() { Wanted::Version } else { Wanted::Other };
        let got = match request.send().await.map_err(Failure::from) {
            Ok(got) => got,
            Err(Failure::Answer(Answer { status: 416, .. })) if version.is_none() => {
                return self.empty(key).await;
            }
            Err(failure) => return Err(self.error(failure, wanted).await),
        };
        let length = got.content_length.unwrap_or_default().max(0) as u64;
        let info = ObjectInfo {
            bytes: got.content_range.as_deref().and_then(size_of_whole).unwrap_or(length),
            etag: etag(got.e_tag)?,
            modified_at: time(got.last_modified),
            content_type: typed(got.content_type),
            metadata: got.metadata.and_then(|mut metadata| metadata.remove(METADATA)),
        };
        range.check(key, info.bytes)?;
        let lost = |error: &dyn std::fmt::Display| StoreError::Lost(format!("the body broke off: {error}"));
        let body = got.body.collect().await.map_err(|error| lost(&error))?.into_bytes();
        if body.len() as u64 != length {
            return Err(lost(&format_args!("{} of {length} bytes came", body.len())));
        }
        Ok(Object { body, info })
    }

    /// Of a range that S3 has no bytes for.
    async fn empty(&self, key: &Key) -> Result<Object, StoreError> {
        Ok(Object { body: Bytes::new(), info: self.head(key).await? })
    }
}

fn stream(body: Body) -> ByteStream {
    match body {
        Body::Bytes(bytes) => ByteStream::from(bytes),
        Body::Spool(_) => ByteStream::new(SdkBody::retryable(move || spooled(&body))),
    }
}

/// Reads the file while it is sent: no more than a piece of it is ever in memory.
fn spooled(body: &Body) -> SdkBody {
    let pieces = futures_util::stream::unfold(body.pieces(), |mut pieces| async move {
        let read = tokio::task::spawn_blocking(move || (pieces.next(), pieces)).await;
        let (piece, pieces) = read.expect("reading a file does not panic");
        Some((piece?.map(Frame::data), pieces))
    });
    // The SDK's chunked encoding polls again after the end.
    SdkBody::from_body_1_x(StreamBody::new(pieces.fuse()))
}

/// A key of a list with `encoding-type=url`, in which S3 writes a space as `+`.
fn decoded(key: &str) -> Result<String, StoreError> {
    let key = key.replace('+', " ");
    let text = percent_decode_str(&key).decode_utf8();
    let text = text.map_err(|_| StoreError::Refused(format!("S3 listed `{key}`, which is not UTF-8")))?;
    Ok(text.into_owned())
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
