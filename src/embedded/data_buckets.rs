//! Opens the buckets of users for the worker of this process, as the context's own bucket is opened.

use std::sync::Arc;

use async_trait::async_trait;

use super::Engine;
use crate::context::{self, Context, DataBucket, Env};
use crate::error::Result;
use crate::event::Listener;
use crate::model::{BucketName, Region};
use crate::seam::count::Counts;
use crate::seam::{Buckets, Store};

struct ContextBuckets {
    context: Context,
    env: Env,
    /// Whose keys sign the requests, instead of the context's.
    profile: Option<String>,
    counts: Arc<Counts>,
    events: Arc<dyn Listener>,
}

#[async_trait]
impl Buckets for ContextBuckets {
    async fn open(&self, bucket: &BucketName, region: Option<&Region>) -> Result<Arc<dyn Store>> {
        let profile = self.profile.clone();
        let bucket = DataBucket { name: bucket.clone(), region: region.cloned(), profile };
        let (counts, events) = (self.counts.clone(), self.events.clone());
        context::open_bucket(&self.context, &self.env, &bucket, counts, events).await
    }
}

impl Engine {
    /// How a worker of this process opens the buckets of users. What it asks of them counts with its other requests.
    pub fn buckets(&self, profile: Option<String>) -> Arc<dyn Buckets> {
        Arc::new(ContextBuckets {
            context: self.context.clone(),
            env: self.env.clone(),
            profile,
            counts: self.counts.clone(),
            events: self.deps.events.clone(),
        })
    }
}
