//! Comfort on top of [`Store`]: facts as types, objects that may be absent, bodies in pieces, whole lists.

use async_trait::async_trait;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::body::{Body, BodyWriter, BodyWriterError};
use super::store::{
    ByteRange, ETag, List, ListPage, Object, ObjectInfo, ObjectVersion, PutObject, Store, StoreError,
    check_bytes,
};
use crate::error::{Error, Result};
use crate::layout::{Fact, Key, fact, metadata};
use crate::limits;

/// What a fact that was to be created meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created<T> {
    /// It is there as it was given: written now, or by an earlier try of which the answer was lost.
    New,
    /// Another one was there first.
    Existing(T),
}

impl<T> Created<T> {
    pub fn is_new(&self) -> bool {
        matches!(self, Created::New)
    }

    /// What is there now.
    pub fn or(self, given: T) -> T {
        match self {
            Created::New => given,
            Created::Existing(stands) => stands,
        }
    }
}

#[async_trait]
pub trait StoreExt: Store {
    /// Writes a fact, or reads the one that was there first. One request, or two.
    async fn create_fact<T: Fact>(&self, id: &T::Id, fact: &T) -> Result<Created<T>> {
        let key = T::key(id);
        for _ in 0..limits::DEFINITION_TRIES_MAX {
            if self.put_fact(id, fact).await? {
                return Ok(Created::New);
            }
            match self.find_fact::<T>(id).await? {
                Some(stands) if stands == *fact => return Ok(Created::New),
                Some(stands) => return Ok(Created::Existing(stands)),
                // It was deleted between the two requests.
                None => {}
            }
        }
        Err(Error::internal(format!("object `{key}` was there and is gone, again and again")))
    }

    /// Writes a fact. False: one was there already, another or the same.
    async fn put_fact<T: Fact>(&self, id: &T::Id, fact: &T) -> Result<bool, StoreError> {
        let key = T::key(id);
        self.create(&key, PutObject::create(body(&key, fact)?).content_type(T::CONTENT_TYPE)).await
    }

    /// Writes a definition in the place of the one that has this ETag.
    async fn replace_fact<T: Fact>(&self, id: &T::Id, fact: &T, etag: ETag) -> Result<ETag, StoreError> {
        let key = T::key(id);
        self.put(&key, PutObject::replace(body(&key, fact)?, etag).content_type(T::CONTENT_TYPE)).await
    }

    /// Creates an object. False: one was there already, another or the same.
    async fn create(&self, key: &Key, object: PutObject) -> Result<bool, StoreError> {
        match self.put(key, object).await {
            Ok(_) => Ok(true),
            Err(StoreError::Exists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn find_fact<T: Fact>(&self, id: &T::Id) -> Result<Option<T>> {
        let key = T::key(id);
        let found = self.find(&key, T::BYTES_MAX).await;
        let found = found.map_err(|error| Error::from(error).context(format!("read `{key}`")))?;
        found.map(|found| fact::decode(&key, &found.body)).transpose()
    }

    /// A fact that is known to be there.
    async fn read_fact<T: Fact>(&self, id: &T::Id) -> Result<T> {
        let found = self.find_fact(id).await?;
        found.ok_or_else(|| absent(&T::key(id)))
    }

    async fn fact_exists<T: Fact>(&self, id: &T::Id) -> Result<bool, StoreError> {
        self.exists(&T::key(id)).await
    }

    /// `None` instead of [`StoreError::NotFound`].
    async fn find(&self, key: &Key, bytes_max: u64) -> Result<Option<Object>, StoreError> {
        found(self.get(key, ByteRange::Whole(bytes_max)).await)
    }

    /// `None` instead of [`StoreError::NotFound`].
    async fn find_info(&self, key: &Key) -> Result<Option<ObjectInfo>, StoreError> {
        found(self.head(key).await)
    }

    /// The metadata of an object, without its body.
    async fn find_metadata<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<(T, ObjectInfo)>> {
        let found = self.find_info(key).await;
        let found = found.map_err(|error| Error::from(error).context(format!("read `{key}`")))?;
        let Some(info) = found else { return Ok(None) };
        let text = info.metadata.as_deref().ok_or_else(|| {
            Error::internal(format!("object `{key}` has no metadata that says what it is"))
                .with_hint("it was copied without its metadata, or not written by this program")
        })?;
        Ok(Some((metadata::decode(format_args!("`{key}`"), text)?, info)))
    }

    /// What rides on an object that is known to be there.
    async fn read_metadata<T: DeserializeOwned>(&self, key: &Key) -> Result<(T, ObjectInfo)> {
        self.find_metadata(key).await?.ok_or_else(|| absent(key))
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.find_info(key).await?.is_some())
    }

    /// An object of which no more than a page is ever in memory. [`StoreError::Changed`]: it has become another one
    /// while it was read.
    async fn stream(&self, key: &Key, bytes_max: u64) -> Result<(Body, ObjectInfo), StoreError> {
        let mut writer = BodyWriter::new(bytes_max);
        let mut offset = 0;
        let mut first: Option<ObjectInfo> = None;
        loop {
            let range = ByteRange::Part { offset, length: limits::READ_PAGE_BYTES };
            let Object { body, info } = self.get(key, range).await?;
            let first = first.get_or_insert(info.clone());
            if first.etag != info.etag {
                return Err(StoreError::Changed);
            }
            check_bytes(key, info.bytes, bytes_max)?;
            writer.write(&body).map_err(|error| match error {
                BodyWriterError::TooLarge { bytes_max } => StoreError::TooLarge {
                    key: key.to_string(),
                    bytes: offset + body.len() as u64,
                    bytes_max,
                },
                BodyWriterError::Io(error) => StoreError::Refused(format!("cannot spool `{key}`: {error}")),
            })?;
            offset += body.len() as u64;
            if offset >= info.bytes || body.is_empty() {
                return Ok((writer.finish(), info));
            }
        }
    }

    /// As [`StoreExt::stream`], of the object that was `bytes` long under this version, and no other.
    async fn stream_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: u64,
    ) -> Result<Body, StoreError> {
        let mut writer = BodyWriter::new(bytes);
        let mut offset = 0;
        loop {
            let range = match bytes {
                // S3 refuses a range of an empty object.
                0 => ByteRange::Whole(0),
                _ => ByteRange::Part { offset, length: limits::READ_PAGE_BYTES },
            };
            let Object { body, info } = self.get_version(key, version, range).await?;
            if info.bytes != bytes {
                return Err(StoreError::Changed);
            }
            writer.write(&body).map_err(|error| match error {
                BodyWriterError::TooLarge { .. } => StoreError::Changed,
                // It says nothing about the object, and a later try may find room.
                BodyWriterError::Io(error) => StoreError::Busy(format!("cannot spool `{key}` here: {error}")),
            })?;
            offset += body.len() as u64;
            if offset >= bytes {
                return Ok(writer.finish());
            }
            if body.is_empty() {
                return Err(StoreError::Lost(format!("the body ended after {offset} of {bytes} bytes")));
            }
        }
    }

    /// The next page of what is left to list; `None` after the last.
    async fn next_page(&self, left: &mut Option<List>) -> Result<Option<ListPage>, StoreError> {
        let Some(request) = left.take() else { return Ok(None) };
        let mut page = self.list(&request).await?;
        *left = page.next.take().map(|next| request.start_after(next));
        Ok(Some(page))
    }

    /// Every entry under a prefix, page by page. Only for prefixes that are small by their nature.
    async fn list_all(&self, request: List) -> Result<ListPage, StoreError> {
        let (mut left, mut all) = (Some(request), ListPage::default());
        while let Some(page) = self.next_page(&mut left).await? {
            all.entries.extend(page.entries);
            all.prefixes.extend(page.prefixes);
        }
        Ok(all)
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

fn body<T: Fact>(key: &Key, fact: &T) -> Result<Bytes, StoreError> {
    let body = fact::encode(fact);
    check_bytes(key, body.len() as u64, T::BYTES_MAX)?;
    Ok(body)
}

fn absent(key: &Key) -> Error {
    Error::not_found(format!("there is no object `{key}`"))
}

fn found<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
