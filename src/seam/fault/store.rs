//! Injects faults into the requests of a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Fault, Faults, Injector, LateWrite, Operation};
use crate::layout::Key;
use crate::model::Time;
use crate::seam::clock::Clock;
use crate::seam::store::{
    ByteRange, ETag, List, ListPage, Object, ObjectInfo, ObjectVersion, PutObject, Store, StoreError,
    StoreExt,
};

pub struct FaultStore {
    inner: Arc<dyn Store>,
    injector: Injector,
}

impl FaultStore {
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, faults: Arc<dyn Faults>) -> FaultStore {
        FaultStore { inner, injector: Injector::new(clock, faults) }
    }

    async fn lag(&self, mut listed: ListPage, lag: Duration) -> Result<ListPage, StoreError> {
        let horizon = self.injector.clock.now().minus_ms(lag.as_millis() as u64);
        listed.entries.retain(|entry| entry.modified_at <= horizon);
        let mut prefixes = Vec::new();
        for prefix in listed.prefixes {
            if self.has_older(&prefix, horizon).await? {
                prefixes.push(prefix);
            }
        }
        listed.prefixes = prefixes;
        Ok(listed)
    }

    async fn has_older(&self, prefix: &str, horizon: Time) -> Result<bool, StoreError> {
        let all = self.inner.list_all(List::all(prefix)).await?;
        Ok(all.entries.iter().any(|entry| entry.modified_at <= horizon))
    }
}

#[async_trait]
impl Store for FaultStore {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let late = || -> Option<LateWrite> {
            let (inner, key, object) = (self.inner.clone(), key.clone(), object.clone());
            Some(Box::pin(async move { drop(inner.put(&key, object).await) }))
        };
        let put = |_| self.inner.put(key, object.clone());
        self.injector.inject(Operation::Put, &key.to_string(), late, put).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        let get = |_| self.inner.get(key, range);
        self.injector.inject(Operation::Get, &key.to_string(), || None, get).await
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &ObjectVersion,
        range: ByteRange,
    ) -> Result<Object, StoreError> {
        let get = |_| self.inner.get_version(key, version, range);
        self.injector.inject(Operation::Get, &key.to_string(), || None, get).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let head = |_| self.inner.head(key);
        self.injector.inject(Operation::Head, &key.to_string(), || None, head).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let list = |fault| async move {
            let listed = self.inner.list(request).await?;
            match fault {
                Fault::Lag(lag) => self.lag(listed, lag).await,
                _ => Ok(listed),
            }
        };
        self.injector.inject(Operation::List, &request.prefix, || None, list).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        let target = keys.first().map(Key::to_string).unwrap_or_default();
        let late = || -> Option<LateWrite> {
            let (inner, keys) = (self.inner.clone(), keys.to_vec());
            Some(Box::pin(async move { drop(inner.delete(&keys).await) }))
        };
        self.injector.inject(Operation::Delete, &target, late, |_| self.inner.delete(keys)).await
    }
}
