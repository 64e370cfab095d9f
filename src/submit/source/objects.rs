//! Objects under a prefix of somebody's bucket, in the order of their keys; or the records that one object holds. Keys
//! that end in a slash are what consoles make to show folders, and are no records.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::input::Input;
use super::{Format, Item, Kind, Origin, Pass, Source, bad_whole, named, too_big};
use crate::error::{Error, Result};
use crate::limits;

/// What is asked of an S3.
#[async_trait]
pub trait ObjectSource: Send + Sync {
    /// Objects under a prefix in ascending order of their keys, strictly after `after`; a page of them.
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<ObjectPage>;

    /// `length` bytes from `offset`, or what there is of them; with `etag` only while the object has it.
    async fn read(
        &self,
        bucket: &str,
        key: &str,
        offset: u64,
        length: u64,
        etag: Option<&str>,
    ) -> Result<ObjectRead>;
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPage {
    pub objects: Vec<ObjectRef>,
    /// What to give as `after` to go on.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    pub key: String,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRead {
    pub bytes: Bytes,
    pub etag: String,
}

pub(super) struct Objects {
    objects: Arc<dyn ObjectSource>,
    bucket: String,
    prefix: String,
    pass: Pass,
    listed: VecDeque<ObjectRef>,
    after: Option<String>,
    ended: bool,
}

impl Objects {
    pub(super) fn new(objects: Arc<dyn ObjectSource>, bucket: String, prefix: String, pass: Pass) -> Objects {
        Objects { objects, bucket, prefix, pass, listed: VecDeque::new(), after: None, ended: false }
    }

    async fn list(&mut self) -> Result<()> {
        while self.listed.is_empty() && !self.ended {
            let page = self.objects.list(&self.bucket, &self.prefix, self.after.as_deref()).await?;
            self.listed.extend(page.objects.into_iter().filter(|object| !object.key.ends_with('/')));
            self.ended = page.next.is_none();
            self.after = page.next;
        }
        Ok(())
    }

    fn reference(&self, object: &ObjectRef) -> Item {
        let json = serde_json::json!({
            "bucket": self.bucket, "key": object.key, "size": object.size, "etag": object.etag,
        });
        Item {
            payload: json.to_string().into(),
            content_type: Some(Cow::Borrowed("application/json")),
            ..Item::default()
        }
    }

    async fn body(&self, object: ObjectRef) -> Result<Item> {
        let name = format!("s3://{}/{}", self.bucket, object.key);
        if object.size > limits::PAYLOAD_BYTES_MAX {
            return Ok(bad_whole(&name, object.size, too_big("object", object.size)));
        }
        let read = self.objects.read(&self.bucket, &object.key, 0, object.size, Some(&object.etag)).await?;
        if read.bytes.len() as u64 != object.size {
            return Err(Error::conflict(format!("`{name}` has changed while it was read")));
        }
        Ok(named(&object.key, read.bytes).unwrap_or_else(|reason| bad_whole(&name, object.size, reason)))
    }
}

#[async_trait]
impl Source for Objects {
    fn origin(&self) -> Origin {
        Origin {
            location: format!("s3://{}/{}", self.bucket, self.prefix),
            format: Format::plain(Kind::Objects).to_string(),
            pass: self.pass,
        }
    }

    async fn next(&mut self) -> Result<Vec<Item>> {
        self.list().await?;
        if self.pass == Pass::Ref {
            let count = self.listed.len().min(limits::SOURCE_ITEMS_MAX);
            let objects: Vec<ObjectRef> = self.listed.drain(..count).collect();
            return Ok(objects.iter().map(|object| self.reference(object)).collect());
        }
        let (mut objects, mut bytes) = (Vec::new(), 0);
        while objects.len() < limits::OBJECTS_AHEAD_MAX && bytes < limits::OBJECTS_AHEAD_BYTES {
            let Some(object) = self.listed.pop_front() else { break };
            bytes += object.size.min(limits::PAYLOAD_BYTES_MAX);
            objects.push(object);
        }
        try_join_all(objects.into_iter().map(|object| self.body(object))).await
    }
}

/// The bytes of one object, which must stay the same while it is read.
pub(super) struct ObjectInput {
    objects: Arc<dyn ObjectSource>,
    bucket: String,
    key: String,
    offset: u64,
    etag: Option<String>,
    /// Read, and not yet handed on.
    page: Bytes,
    ended: bool,
}

impl ObjectInput {
    pub(super) fn new(objects: Arc<dyn ObjectSource>, bucket: String, key: String) -> ObjectInput {
        ObjectInput { objects, bucket, key, offset: 0, etag: None, page: Bytes::new(), ended: false }
    }
}

#[async_trait]
impl Input for ObjectInput {
    async fn read(&mut self) -> Result<Bytes> {
        if self.page.is_empty() && !self.ended {
            let length = limits::READ_PAGE_BYTES;
            let read = self
                .objects
                .read(&self.bucket, &self.key, self.offset, length, self.etag.as_deref())
                .await
                .map_err(|error| error.context(format!("read `s3://{}/{}`", self.bucket, self.key)))?;
            self.offset += read.bytes.len() as u64;
            self.ended = (read.bytes.len() as u64) < length;
            self.etag = Some(read.etag);
            self.page = read.bytes;
        }
        Ok(self.page.split_to(self.page.len().min(limits::SOURCE_BLOCK_BYTES as usize)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{NAME_HEADER, open};
    use super::*;

    /// A bucket that lists two keys at a time.
    struct Bucket(BTreeMap<String, Bytes>);

    #[async_trait]
    impl ObjectSource for Bucket {
        async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<ObjectPage> {
            assert_eq!(bucket, "b");
            let under = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
            let mut rest = under.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
            let objects: Vec<ObjectRef> = rest
                .by_ref()
                .take(2)
                .map(|(key, body)| ObjectRef {
                    key: key.clone(),
                    size: body.len() as u64,
                    etag: format!("e{}", body.len()),
                })
                .collect();
            let next = rest.next().and_then(|_| objects.last()).map(|object| object.key.clone());
            Ok(ObjectPage { objects, next })
        }

        async fn read(
            &self,
            _: &str,
            key: &str,
            offset: u64,
            length: u64,
            etag: Option<&str>,
        ) -> Result<ObjectRead> {
            let body = self.0.get(key).ok_or_else(|| Error::not_found("no such object"))?;
            let now = format!("e{}", body.len());
            assert!(etag.is_none_or(|etag| etag == now));
            let range = (offset as usize).min(body.len())..((offset + length) as usize).min(body.len());
            Ok(ObjectRead { bytes: body.slice(range), etag: now })
        }
    }

    async fn all(location: &str, pass: Option<Pass>, bucket: &Arc<Bucket>) -> Vec<Item> {
        let mut source = open(location, None, pass, Some(bucket.clone())).await.unwrap();
        let mut all = Vec::new();
        loop {
            let items = source.next().await.unwrap();
            if items.is_empty() {
                return all;
            }
            all.extend(items);
        }
    }

    #[tokio::test]
    async fn bodies_and_references_of_all_pages() {
        let huge = Bytes::from(vec![0; limits::PAYLOAD_BYTES_MAX as usize + 1]);
        let mut objects: BTreeMap<String, Bytes> =
            (0..7).map(|n| (format!("in/{n}"), Bytes::from(format!("body {n}")))).collect();
        objects.insert("in/".to_owned(), Bytes::new());
        objects.insert("in/huge".to_owned(), huge);
        objects.insert("out/1".to_owned(), Bytes::new());
        let bucket = Arc::new(Bucket(objects));

        let bodies = all("s3://b/in/", None, &bucket).await;
        assert_eq!(bodies.len(), 8);
        assert_eq!(
            (bodies[3].payload.as_ref(), &*bodies[3].headers[NAME_HEADER]),
            (b"body 3".as_slice(), "in/3")
        );
        assert!(bodies[7].bad.as_ref().unwrap().to_string().starts_with("s3://b/in/huge: the object has"));

        let refs = all("s3://b/in/", Some(Pass::Ref), &bucket).await;
        assert_eq!(refs.len(), 8);
        assert_eq!(refs[0].payload, r#"{"bucket":"b","key":"in/0","size":6,"etag":"e6"}"#);
    }

    #[tokio::test]
    async fn records_in_an_object() {
        let line = format!("\"{}\"\n", "x".repeat(1_000_000));
        let text = Bytes::from(line.repeat(20));
        let bucket = Arc::new(Bucket([("in.jsonl".to_owned(), text)].into()));
        let items = all("s3://b/in.jsonl", None, &bucket).await;
        assert_eq!(items.len(), 20);
        assert!(items.iter().all(|item| item.payload.len() == 1_000_002 && item.bad.is_none()));
        assert!(open("s3://b/in.jsonl", None, Some(Pass::Ref), Some(bucket)).await.is_err());
        assert!(open("s3://b/in", None, None, None).await.is_err());
    }
}
