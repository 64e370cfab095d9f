//! Objects in a sorted map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::backend::watched::Watched;
use crate::layout::Key;
use crate::model::Digest;
use crate::seam::Clock;
use crate::seam::store::{
    ByteRange, ETag, List, ListEntry, ListPage, Object, ObjectInfo, PutObject, Store, StoreError,
    check_delete, past_prefix,
};

/// Clones share their objects.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
    watched: Watched,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock, objects: Arc::default(), watched: Watched::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().expect("no holder of this lock panics")
    }
}

/// Of the bytes alone, as S3's is: the same bytes written again bring the same ETag back.
fn etag(body: &Bytes) -> ETag {
    ETag(Digest::of(body).as_str()[..32].to_owned())
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let key = key.to_string();
        object.check(&key)?;
        let body =
            object.body.to_bytes().map_err(|error| StoreError::Refused(format!("read the body: {error}")))?;
        let etag = etag(&body);
        let mut objects = self.objects();
        object.mode.check(objects.get(&key).map(|existing| &existing.info.etag))?;
        let info = ObjectInfo {
            bytes: body.len() as u64,
            etag: etag.clone(),
            modified_at: self.clock.now(),
            content_type: object.content_type,
            metadata: object.metadata,
        };
        self.watched.notify(&key);
        objects.insert(key, Object { body, info });
        Ok(etag)
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        let mut object = self.objects().get(&key.to_string()).cloned().ok_or(StoreError::NotFound)?;
        range.check(key, object.info.bytes)?;
        let part = range.within(object.info.bytes);
        object.body = object.body.slice(part.start as usize..part.end as usize);
        Ok(object)
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.objects().get(&key.to_string()).map(|object| object.info.clone()).ok_or(StoreError::NotFound)
    }

    fn created(&self, key: &Key) -> BoxFuture<'static, ()> {
        let watch = self.watched.watch(key.to_string());
        async move { watch.created().await }.boxed()
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let objects = self.objects();
        let mut listed = ListPage::default();
        let mut after = request.start_after.clone();
        let mut last = None;
        loop {
            let from = match &after {
                Some(key) if *key >= request.prefix => Bound::Excluded(key.as_str()),
                _ => Bound::Included(request.prefix.as_str()),
            };
            let next = objects.range::<str, _>((from, Bound::Unbounded)).next();
            let Some((key, object)) = next.filter(|(key, _)| key.starts_with(&request.prefix)) else {
                return Ok(listed);
            };
            if listed.entries.len() + listed.prefixes.len() >= request.page() {
                listed.next = last;
                return Ok(listed);
            }
            let position = match request.common_prefix(key) {
                Some(common) => {
                    listed.prefixes.push(common.to_owned());
                    past_prefix(common)
                }
                None => {
                    listed.entries.push(ListEntry {
                        key: key.clone(),
                        bytes: object.info.bytes,
                        etag: object.info.etag.clone(),
                        modified_at: object.info.modified_at,
                    });
                    key.clone()
                }
            };
            last = Some(position.clone());
            after = Some(position);
        }
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        check_delete(keys)?;
        let mut objects = self.objects();
        for key in keys {
            objects.remove(&key.to_string());
        }
        Ok(())
    }
}
