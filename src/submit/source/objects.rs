//! Objects under a prefix of a user's bucket, in the order of their keys; or the records of one object. Keys that end in a
//! slash are made by consoles to show folders, and are skipped.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::input::Input;
use super::{
    CONTENT_TYPE, Format, Kind, Origin, Pass, Source, SourceRecord, bad_whole, headers, reference, too_big,
    whole,
};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::limits;
use crate::model::{BucketName, FetchSource, Region, SourceObject};
use crate::seam::store::{ByteRange, ETag, List, ListEntry, Object, ObjectInfo};
use crate::seam::{Store, StoreError, StoreExt as _};

/// A bucket of the user, as a store without a prefix.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) name: BucketName,
    pub(super) store: Arc<dyn Store>,
}

impl Bucket {
    fn location(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    pub(super) async fn head(&self, key: &str) -> Result<ObjectInfo> {
        self.store.head(&Key::text(key)).await.map_err(|error| self.unread(key, error))
    }

    pub(super) async fn read(&self, key: &str, range: ByteRange) -> Result<Object> {
        self.store.get(&Key::text(key), range).await.map_err(|error| self.unread(key, error))
    }

    fn unread(&self, key: &str, error: StoreError) -> Error {
        match error {
            StoreError::Changed => self.changed(key),
            error => Error::from(error).context(format!("cannot read `{}`", self.location(key))),
        }
    }

    pub(super) fn changed(&self, key: &str) -> Error {
        Error::conflict(format!("`{}` has changed while it was read", self.location(key)))
    }
}

pub(super) struct Objects {
    bucket: Bucket,
    prefix: String,
    pass: Pass,
    /// Of the bucket, if it was named.
    region: Option<Region>,
    listed: VecDeque<ListEntry>,
    after: Option<String>,
    ended: bool,
}

impl Objects {
    pub(super) fn new(bucket: Bucket, prefix: String, pass: Pass, region: Option<Region>) -> Objects {
        Objects { bucket, prefix, pass, region, listed: VecDeque::new(), after: None, ended: false }
    }

    async fn list(&mut self) -> Result<()> {
        while self.listed.is_empty() && !self.ended {
            let request = List { start_after: self.after.take(), ..List::all(&self.prefix) };
            let page = self.bucket.store.list(&request).await.map_err(|error| {
                Error::from(error).context(format!("cannot list `{}`", self.bucket.location(&self.prefix)))
            })?;
            self.listed.extend(page.entries.into_iter().filter(|object| !object.key.ends_with('/')));
            self.ended = page.next.is_none();
            self.after = page.next;
        }
        Ok(())
    }

    fn reference(&self, object: &ListEntry) -> SourceRecord {
        reference(&object.key, &self.named(object).reference())
    }

    fn named(&self, object: &ListEntry) -> SourceObject {
        SourceObject {
            bucket: self.bucket.name.clone(),
            key: object.key.clone(),
            bytes: object.bytes,
            etag: object.etag.0.clone(),
            version: None,
        }
    }

    fn fetched(&self, object: &ListEntry) -> SourceRecord {
        if object.bytes > limits::BODY_BYTES_MAX {
            return self.bad(object, too_big("object", object.bytes));
        }
        let named = self.named(object);
        if let Err(reason) = named.check() {
            return self.bad(object, reason);
        }
        SourceRecord { content_type: Some(CONTENT_TYPE), object: Some(named), ..SourceRecord::default() }
    }

    fn bad(&self, object: &ListEntry, reason: String) -> SourceRecord {
        SourceRecord {
            headers: headers(&object.key).unwrap_or_default(),
            ..bad_whole(&self.bucket.location(&object.key), object.bytes, reason)
        }
    }

    async fn body(&self, object: ListEntry) -> Result<SourceRecord> {
        let bad = |reason| self.bad(&object, reason);
        if object.bytes > limits::BODY_BYTES_MAX {
            return Ok(bad(too_big("object", object.bytes)));
        }
        let read = self.bucket.store.stream(&object.to_key(), limits::BODY_BYTES_MAX).await;
        let (body, info) = read.map_err(|error| self.bucket.unread(&object.key, error))?;
        if info.etag != object.etag {
            return Err(self.bucket.changed(&object.key));
        }
        Ok(whole(&object.key, body).unwrap_or_else(bad))
    }
}

#[async_trait]
impl Source for Objects {
    fn origin(&self) -> Origin {
        let location = self.bucket.location(&self.prefix);
        let fetch = (self.pass == Pass::Fetch)
            .then(|| FetchSource { bucket: self.bucket.name.clone(), region: self.region.clone() });
        Origin { fetch, ..Origin::new(location, Format::plain(Kind::Objects), self.pass) }
    }

    async fn next(&mut self) -> Result<Vec<SourceRecord>> {
        self.list().await?;
        if self.pass == Pass::Ref || self.pass == Pass::Fetch {
            let count = self.listed.len().min(limits::SOURCE_ITEMS_MAX);
            let objects: Vec<ListEntry> = self.listed.drain(..count).collect();
            let record = |object| match self.pass {
                Pass::Fetch => self.fetched(object),
                _ => self.reference(object),
            };
            return Ok(objects.iter().map(record).collect());
        }
        let (mut objects, mut bytes) = (Vec::new(), 0);
        while objects.len() < limits::OBJECTS_AHEAD_MAX && bytes < limits::OBJECTS_AHEAD_BYTES {
            let Some(object) = self.listed.pop_front() else { break };
            bytes += object.bytes;
            objects.push(object);
        }
        try_join_all(objects.into_iter().map(|object| self.body(object))).await
    }
}

/// The bytes of one object, which must stay the same while it is read.
pub(super) struct ObjectInput {
    bucket: Bucket,
    key: String,
    offset: u64,
    etag: Option<ETag>,
    /// Read, and not yet returned.
    page: Bytes,
    ended: bool,
}

impl ObjectInput {
    pub(super) fn new(bucket: Bucket, key: String) -> ObjectInput {
        ObjectInput { bucket, key, offset: 0, etag: None, page: Bytes::new(), ended: false }
    }
}

#[async_trait]
impl Input for ObjectInput {
    async fn read(&mut self) -> Result<Bytes> {
        if self.page.is_empty() && !self.ended {
            let range = ByteRange::Part { offset: self.offset, length: limits::READ_PAGE_BYTES };
            let read = self.bucket.read(&self.key, range).await?;
            if *self.etag.get_or_insert_with(|| read.info.etag.clone()) != read.info.etag {
                return Err(self.bucket.changed(&self.key));
            }
            self.offset += read.body.len() as u64;
            self.ended = self.offset >= read.info.bytes;
            self.page = read.body;
        }
        Ok(self.page.split_to(self.page.len().min(limits::SOURCE_BLOCK_BYTES as usize)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NAME_HEADER, OpenOptions, open};
    use super::*;
    use crate::backend::memory::MemoryStore;
    use crate::seam::Body;
    use crate::seam::clock::SystemClock;
    use crate::seam::store::{ListPage, PutObject};

    /// A bucket that lists two keys at a time.
    struct Small(MemoryStore);

    impl Small {
        async fn with(objects: impl IntoIterator<Item = (&str, Bytes)>) -> Arc<Small> {
            let store = MemoryStore::new(Arc::new(SystemClock));
            for (key, body) in objects {
                store.put(&Key::text(key), PutObject::create(body)).await.unwrap();
            }
            Arc::new(Small(store))
        }

        async fn replace(&self, key: &str, body: &'static str) {
            let key = Key::text(key);
            let stands = self.0.head(&key).await.unwrap().etag;
            self.0.put(&key, PutObject::replace(body, stands)).await.unwrap();
        }
    }

    #[async_trait]
    impl Store for Small {
        async fn put(&self, _: &Key, _: PutObject) -> Result<ETag, StoreError> {
            panic!("a source is not written")
        }

        async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
            self.0.get(key, range).await
        }

        async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
            self.0.head(key).await
        }

        async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
            self.0.list(&List { max: 2, ..request.clone() }).await
        }

        async fn delete(&self, _: &[Key]) -> Result<(), StoreError> {
            panic!("a source is not deleted")
        }
    }

    async fn all(location: &str, pass: Option<Pass>, bucket: &Arc<Small>) -> Result<Vec<SourceRecord>> {
        let options = OpenOptions { pass, ..OpenOptions::default() };
        super::super::tests::all(open(location, options, Some(bucket.clone())).await?).await
    }

    #[tokio::test]
    async fn bodies_and_references_of_all_pages() {
        let large = Bytes::from(vec![7; limits::READ_PAGE_BYTES as usize + 1]);
        let keys: Vec<String> = (0..7).map(|n| format!("in/{n}")).collect();
        let small = keys.iter().map(|key| (key.as_str(), Bytes::from(format!("body of {key}"))));
        let more = [("in/", Bytes::new()), ("in/large", large.clone()), ("out/1", Bytes::new())];
        let bucket = Small::with(small.chain(more)).await;

        let bodies = all("s3://b/in/", Some(Pass::Body), &bucket).await.unwrap();
        assert_eq!(bodies.len(), 8);
        assert_eq!(
            (bodies[3].payload.to_bytes().unwrap(), &*bodies[3].headers[NAME_HEADER]),
            ("body of in/3".into(), "in/3")
        );
        assert!(matches!(&bodies[7].payload, Body::Spool(_)), "it is held in memory");
        assert!(bodies[7].payload.to_bytes().unwrap() == large, "it is not what it was");

        let refs = all("s3://b/in/", Some(Pass::Ref), &bucket).await.unwrap();
        assert_eq!(refs.len(), 8);
        let etag = bucket.head(&Key::text("in/0")).await.unwrap().etag.0;
        let expected = format!(r#"{{"bucket":"b","key":"in/0","size":12,"etag":"{etag}"}}"#);
        assert_eq!(refs[0].payload.to_bytes().unwrap(), expected);
        assert_eq!(refs[0].headers[NAME_HEADER], "in/0");
    }

    /// By default nothing but the list is read, whatever the keys are.
    #[tokio::test]
    async fn objects_are_named_and_not_read() {
        let keys = ["/", " a b ", "../x", "a//b", "k\n\u{1}", "\u{e9}\u{1f600}", "100%+"];
        let mut keys: Vec<String> = keys.into_iter().map(|key| format!("{key}.bin")).collect();
        keys.sort_unstable();
        let bucket = Small::with(keys.iter().map(|key| (key.as_str(), Bytes::from_static(b"body")))).await;
        let region: Region = "eu-west-1".parse().unwrap();
        let options = OpenOptions { region: Some(region.clone()), ..OpenOptions::default() };
        let source = open("s3://b", options, Some(bucket.clone())).await.unwrap();
        let place = FetchSource { bucket: "b".parse().unwrap(), region: Some(region) };
        assert_eq!((source.origin().fetch, source.origin().pass), (Some(place), Pass::Fetch));
        let records = super::super::tests::all(source).await.unwrap();
        let named: Vec<&SourceObject> =
            records.iter().map(|record| record.object.as_ref().unwrap()).collect();
        assert_eq!(named.iter().map(|object| object.key.clone()).collect::<Vec<_>>(), keys);
        let etag = bucket.head(&Key::text(&keys[0])).await.unwrap().etag.0;
        assert!(named.iter().all(|object| (object.bytes, &object.etag) == (4, &etag)));
        assert!(records.iter().all(|record| record.payload.is_empty() && record.headers.is_empty()));
        assert_eq!(records[0].content_type.as_deref(), Some("application/octet-stream"));
        let said = open(
            "s3://b/x.jsonl",
            OpenOptions { pass: Some(Pass::Fetch), ..OpenOptions::default() },
            Some(bucket),
        )
        .await;
        assert!(said.err().unwrap().message().contains("records cannot be passed as `fetch`"));
    }

    #[tokio::test]
    async fn records_in_an_object() {
        let line = format!("\"{}\"\n", "x".repeat(1_000_000));
        let bucket = Small::with([("in.jsonl", Bytes::from(line.repeat(20)))]).await;
        let items = all("s3://b/in.jsonl", None, &bucket).await.unwrap();
        assert_eq!(items.len(), 20);
        assert!(items.iter().all(|item| item.payload.len() == 1_000_002 && item.bad.is_none()));
        assert!(all("s3://b/in.jsonl", Some(Pass::Ref), &bucket).await.is_err());
        let missing = all("s3://b/no.jsonl", None, &bucket).await.unwrap_err();
        assert_eq!(missing.message(), "cannot read `s3://b/no.jsonl`: no such object");
        assert!(open("s3://b/in", OpenOptions::default(), None).await.is_err());
    }

    #[tokio::test]
    async fn an_object_that_changes_while_it_is_read_ends_the_source() {
        let long = Bytes::from("a line\n".repeat(limits::READ_PAGE_BYTES as usize / 4));
        let bucket = Small::with([("in.txt", long), ("o/1", "1".into())]).await;
        let mut source = open("s3://b/in.txt", OpenOptions::default(), Some(bucket.clone())).await.unwrap();
        source.next().await.unwrap();
        bucket.replace("in.txt", "shorter").await;
        let error = loop {
            if let Err(error) = source.next().await {
                break error;
            }
        };
        assert_eq!(error.message(), "`s3://b/in.txt` has changed while it was read");
    }
}
