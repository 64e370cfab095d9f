//! Objects in a sorted map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::Digest;
use crate::seam::Clock;
use crate::seam::store::{
    ETag, Entry, List, Listed, Object, ObjectInfo, Put, PutObject, Range, Store, StoreError, check_delete,
    past_prefix,
};

/// Clones share their objects.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    objects: Arc<Mutex<BTreeMap<String, Object>>>,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore { clock, objects: Arc::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().expect("no holder of this lock panics")
    }
}

/// Of the bytes alone, as S3's is: the same bytes written again bring the same ETag back.
fn etag(body: &Bytes) -> ETag {
    let mut digest = String::from(Digest::of(body));
    digest.truncate(32);
    ETag(digest)
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        object.check(key)?;
        let body =
            object.body.to_bytes().map_err(|error| StoreError::Refused(format!("read the body: {error}")))?;
        let etag = etag(&body);
        let mut objects = self.objects();
        match (&object.mode, objects.get(key)) {
            (Put::Create, Some(_)) => return Err(StoreError::Exists),
            (Put::Replace(_), None) => return Err(StoreError::NotFound),
            (Put::Replace(expected), Some(stands)) if stands.info.etag != *expected => {
                return Err(StoreError::Changed);
            }
            (Put::Create, None) | (Put::Replace(_), Some(_)) => {}
        }
        let info = ObjectInfo {
            bytes: body.len() as u64,
            etag: etag.clone(),
            modified_at: self.clock.now(),
            content_type: object.content_type,
            note: object.note,
        };
        objects.insert(key.to_owned(), Object { body, info });
        Ok(etag)
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        let mut object = self.objects().get(key).cloned().ok_or(StoreError::NotFound)?;
        let part = range.within(object.info.bytes);
        object.body = object.body.slice(part.start as usize..part.end as usize);
        Ok(object)
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.objects().get(key).map(|object| object.info.clone()).ok_or(StoreError::NotFound)
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        let objects = self.objects();
        let mut listed = Listed::default();
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
                    listed.entries.push(Entry {
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

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        check_delete(keys)?;
        let mut objects = self.objects();
        for key in keys {
            objects.remove(key);
        }
        Ok(())
    }
}
