//! The buckets of users, from which workers read the payloads of batches.

use std::sync::Arc;

use async_trait::async_trait;

use super::store::Store;
use crate::error::Error;
use crate::model::{BucketName, Region};

#[async_trait]
pub trait Buckets: Send + Sync {
    /// The bucket as a store without a prefix, in this region or in that of the machine. Sends no request to the bucket. An
    /// error is one of this machine, which says nothing about the bucket.
    async fn open(&self, bucket: &BucketName, region: Option<&Region>) -> Result<Arc<dyn Store>, Error>;
}
