//! Carries out faults around a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{BUSY, CONFLICT, Fault, Faults, LOST, LateRequests, Operation, Request, nobody};
use crate::model::Time;
use crate::seam::clock::Clock;
use crate::seam::store::{
    ETag, List, Listed, Object, ObjectInfo, PutObject, Range, Store, StoreError, StoreExt,
};

pub struct FaultStore {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    faults: Arc<dyn Faults>,
    late: LateRequests<Write>,
}

/// What may arrive late.
enum Write {
    Put(String, PutObject),
    Delete(Vec<String>),
}

impl FaultStore {
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, faults: Arc<dyn Faults>) -> FaultStore {
        FaultStore { inner, clock, faults, late: LateRequests::new() }
    }

    async fn suffer<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        operation: Operation,
        target: &str,
        write: impl FnOnce() -> Option<Write>,
        request: impl FnOnce(Fault) -> F,
    ) -> Result<T, StoreError> {
        while let Some(write) = self.late.arrived(self.clock.monotonic()) {
            // Whoever asked for it has given up: nobody hears how it ends.
            let _ = match write {
                Write::Put(key, object) => self.inner.put(&key, object).await.map(drop),
                Write::Delete(keys) => self.inner.delete(&keys).await,
            };
        }
        let fate = self.faults.fate(&Request { operation, target });
        if !fate.before.is_zero() {
            self.clock.sleep(fate.before).await;
        }
        let answer = match fate.fault {
            Fault::Busy => Err(StoreError::Busy(BUSY.to_owned())),
            Fault::Unreached => Err(StoreError::Unreached(nobody())),
            Fault::Conflict if operation == Operation::Put => Err(StoreError::Busy(CONFLICT.to_owned())),
            Fault::LoseRequest => Err(StoreError::Lost(LOST.to_owned())),
            Fault::Late(by) => {
                if let Some(write) = write() {
                    self.late.put_off(self.clock.monotonic() + by, write);
                }
                Err(StoreError::Lost(LOST.to_owned()))
            }
            Fault::LoseReply => {
                let _ = request(fate.fault).await;
                Err(StoreError::Lost(LOST.to_owned()))
            }
            fault => request(fault).await,
        };
        if !fate.after.is_zero() {
            self.clock.sleep(fate.after).await;
        }
        answer
    }

    async fn lag(&self, mut listed: Listed, lag: Duration) -> Result<Listed, StoreError> {
        let horizon = self.clock.now().minus_ms(lag.as_millis() as u64);
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
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        let write = || Some(Write::Put(key.to_owned(), object.clone()));
        self.suffer(Operation::Put, key, write, |_| self.inner.put(key, object.clone())).await
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        self.suffer(Operation::Get, key, || None, |_| self.inner.get(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        self.suffer(Operation::Head, key, || None, |_| self.inner.head(key)).await
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        let ask = |fault| async move {
            let listed = self.inner.list(request).await?;
            match fault {
                Fault::Lag(lag) => self.lag(listed, lag).await,
                _ => Ok(listed),
            }
        };
        self.suffer(Operation::List, &request.prefix, || None, ask).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let target = keys.first().map_or("", String::as_str);
        let write = || Some(Write::Delete(keys.to_vec()));
        self.suffer(Operation::Delete, target, write, |_| self.inner.delete(keys)).await
    }
}
