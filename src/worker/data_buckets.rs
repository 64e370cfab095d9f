//! The buckets of users from which this worker reads payloads: those that its user has named. In a shared context anybody who
//! may submit names the objects, and the worker's keys may reach more buckets than the submitter's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::layout::{Key, key};
use crate::limits;
use crate::model::{BucketName, Region, SourceObject};
use crate::seam::executor::Mismatch;
use crate::seam::store::{ETag, ObjectVersion};
use crate::seam::{Body, Buckets, Store, StoreError, StoreExt as _};

pub struct DataBuckets {
    allowed: BTreeSet<BucketName>,
    own: Option<OwnBucket>,
    buckets: Option<Arc<dyn Buckets>>,
    open: Mutex<OpenBuckets>,
}

/// The bucket of this worker's own store, and what its keys begin with.
#[derive(Debug, Clone)]
pub struct OwnBucket {
    pub name: BucketName,
    /// Empty, or ends in a slash.
    pub prefix: String,
}

/// Each bucket in each region that batches name.
type OpenBuckets = BTreeMap<(BucketName, Option<Region>), Arc<dyn Store>>;

/// Why an object was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectError {
    /// It will never be what was submitted. Names the object.
    Bad(String),
    /// S3 or this machine had trouble with this object, and a later try may succeed. Names the object.
    Busy(String),
    /// This worker reaches no S3. It says nothing about the object.
    Unreached(StoreError),
    /// Other workers may be able to read it.
    Mismatch(Mismatch),
}

impl DataBuckets {
    pub fn new(
        allowed: BTreeSet<BucketName>,
        own: Option<OwnBucket>,
        buckets: Option<Arc<dyn Buckets>>,
    ) -> DataBuckets {
        DataBuckets { allowed, own, buckets, open: Mutex::default() }
    }

    /// A bucket that is not named is a matter of this worker and not of the call: another worker may be set up for it, and its
    /// user can still start one. So the call waits, as it does for an executor, and does not fail.
    pub fn check(&self, bucket: &BucketName) -> Result<(), Mismatch> {
        if self.allowed.contains(bucket) {
            return Ok(());
        }
        Err(Mismatch(format!(
            "this worker reads no objects of bucket `{bucket}`: start the worker with --data-bucket {bucket}"
        )))
    }

    /// Small objects take one request. No more than a page of a large one is ever in memory.
    pub async fn read(&self, object: &SourceObject, region: Option<&Region>) -> Result<Body, ObjectError> {
        self.check(&object.bucket).map_err(ObjectError::Mismatch)?;
        // A submitter may read less of the store than this worker: another team's calls, for example.
        let own = self.own.as_ref().filter(|own| own.name == object.bucket);
        if own.is_some_and(|own| key::is_of_store(&object.key, &own.prefix)) {
            return Err(ObjectError::Bad(format!(
                "object `{}` is one of afn's own, which no batch reads",
                object.location()
            )));
        }
        let store = self.store(&object.bucket, region).await.map_err(ObjectError::Mismatch)?;
        let version = ObjectVersion { etag: ETag(object.etag.clone()), id: object.version.clone() };
        let read = store.stream_version(&Key::text(&object.key), &version, object.bytes).await;
        read.map_err(|error| unread(object, error))
    }

    async fn store(&self, bucket: &BucketName, region: Option<&Region>) -> Result<Arc<dyn Store>, Mismatch> {
        let name = (bucket.clone(), region.cloned());
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(&name) {
            return Ok(store.clone());
        }
        let Some(buckets) = &self.buckets else {
            return Err(Mismatch(format!("this worker has no way to read bucket `{bucket}`")));
        };
        let opened = buckets.open(bucket, region).await;
        let store =
            opened.map_err(|error| Mismatch(format!("bucket `{bucket}` cannot be opened here: {error}")))?;
        // The regions are what batches say.
        if open.len() >= limits::DATA_BUCKETS_OPEN_MAX {
            open.clear();
        }
        open.insert(name, store.clone());
        Ok(store)
    }
}

fn unread(object: &SourceObject, error: StoreError) -> ObjectError {
    let named = |why: &dyn std::fmt::Display| format!("object `{}` {why}", object.location());
    match error {
        StoreError::NotFound => ObjectError::Bad(named(&"is gone")),
        // It is longer or shorter than the list said.
        StoreError::Changed | StoreError::TooLarge { .. } => {
            ObjectError::Bad(named(&"was replaced after it was listed"))
        }
        StoreError::Refused(why) => ObjectError::Bad(named(&format_args!("cannot be read: {why}"))),
        StoreError::Busy(why) | StoreError::Lost(why) => {
            ObjectError::Busy(named(&format_args!("could not be read: {why}")))
        }
        StoreError::Unreached(of) if of.may_recover => ObjectError::Unreached(StoreError::Unreached(of)),
        // There are no keys to sign the request with.
        StoreError::Unreached(of) => ObjectError::Mismatch(Mismatch(of.to_string())),
        error @ StoreError::Exists => ObjectError::Bad(named(&error)),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::backend::memory::MemoryStore;
    use crate::error::{Error, Result};
    use crate::seam::clock::SystemClock;
    use crate::seam::store::PutObject;

    struct One(MemoryStore, Mutex<Vec<String>>);

    #[async_trait]
    impl Buckets for One {
        async fn open(&self, bucket: &BucketName, region: Option<&Region>) -> Result<Arc<dyn Store>> {
            if bucket.as_str() == "unopened" {
                return Err(Error::invalid("no AWS region is set"));
            }
            self.1.lock().await.push(format!("{bucket} {}", region.map_or("-", Region::as_str)));
            Ok(Arc::new(self.0.clone()))
        }
    }

    fn name(text: &str) -> BucketName {
        text.parse().unwrap()
    }

    async fn put(store: &MemoryStore, key: &str, body: Vec<u8>) -> SourceObject {
        let bytes = body.len() as u64;
        let etag = store.put(&Key::text(key), PutObject::create(body)).await.unwrap().0;
        SourceObject { bucket: name("b"), key: key.to_owned(), bytes, etag, version: None }
    }

    fn bad(why: &str) -> ObjectError {
        ObjectError::Bad(why.to_owned())
    }

    #[tokio::test]
    async fn only_the_object_that_was_listed_is_read() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let one = Arc::new(One(store.clone(), Mutex::default()));
        let buckets = DataBuckets::new([name("b"), name("unopened")].into(), None, Some(one.clone()));
        let large = vec![7; 2 * limits::READ_PAGE_BYTES as usize + 3];
        for (key, body) in [("a", b"body".to_vec()), ("/../ \n\u{e9}", Vec::new()), ("large", large)] {
            let object = put(&store, key, body.clone()).await;
            let read = buckets.read(&object, None).await.unwrap();
            assert!(read.to_bytes().unwrap() == body, "{key:?}");
            assert_eq!(matches!(read, Body::Spool(_)), key == "large");
        }
        let object = put(&store, "k", b"old".to_vec()).await;
        let region: Region = "eu-west-1".parse().unwrap();
        assert_eq!(buckets.read(&object, Some(&region)).await.unwrap().to_bytes().unwrap(), "old");
        assert_eq!(*one.1.lock().await, ["b -", "b eu-west-1"], "a bucket is opened once for each region");

        store.put(&Key::text("k"), PutObject::replace("new", ETag(object.etag.clone()))).await.unwrap();
        let replaced = bad("object `s3://b/k` was replaced after it was listed");
        assert_eq!(buckets.read(&object, None).await, Err(replaced));
        store.delete(&[Key::text("k")]).await.unwrap();
        assert_eq!(buckets.read(&object, None).await, Err(bad("object `s3://b/k` is gone")));
    }

    #[tokio::test]
    async fn a_worker_reads_no_bucket_that_its_user_did_not_name() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let object = put(&store, "k", b"body".to_vec()).await;
        let one = Arc::new(One(store, Mutex::default()));
        let of = |bucket: &str| SourceObject { bucket: name(bucket), ..object.clone() };
        let buckets = DataBuckets::new([name("b"), name("unopened")].into(), None, Some(one.clone()));
        let mismatch = |why: &str| Err(ObjectError::Mismatch(Mismatch(why.to_owned())));
        assert_eq!(
            buckets.read(&of("secret"), None).await,
            mismatch(
                "this worker reads no objects of bucket `secret`: start the worker with --data-bucket secret"
            )
        );
        assert_eq!(
            buckets.read(&of("unopened"), None).await,
            mismatch("bucket `unopened` cannot be opened here: no AWS region is set")
        );
        assert_eq!(*one.1.lock().await, [""; 0]);
        let none = DataBuckets::new([name("b")].into(), None, None);
        assert_eq!(none.read(&object, None).await, mismatch("this worker has no way to read bucket `b`"));
    }

    #[tokio::test]
    async fn what_afn_keeps_in_the_bucket_of_the_store_is_no_payload() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let own = OwnBucket { name: name("b"), prefix: "team/".to_owned() };
        let one = Arc::new(One(store.clone(), Mutex::default()));
        let buckets = DataBuckets::new([name("b"), name("c")].into(), Some(own), Some(one));
        let object = put(&store, "team/apps/theirs/calls/x/payload", b"secret".to_vec()).await;
        let why =
            bad("object `s3://b/team/apps/theirs/calls/x/payload` is one of afn's own, which no batch reads");
        assert_eq!(buckets.read(&object, None).await, Err(why));
        // The user's own, and those of another bucket.
        let users = put(&store, "team/in/a", b"body".to_vec()).await;
        assert_eq!(buckets.read(&users, None).await.unwrap().to_bytes().unwrap(), "body");
        let other = SourceObject { bucket: name("c"), ..object };
        assert_eq!(buckets.read(&other, None).await.unwrap().to_bytes().unwrap(), "secret");
    }

    #[test]
    fn trouble_of_the_store_is_no_fault_of_the_object() {
        let object =
            SourceObject { bucket: name("b"), key: "k".into(), bytes: 1, etag: "e".into(), version: None };
        let unreached = |may_recover| {
            let (what, why, hint) = ("no credentials".to_owned(), "none".to_owned(), String::new());
            StoreError::Unreached(crate::seam::Unreached { what, why, hint, may_recover })
        };
        assert_eq!(
            unread(&object, StoreError::Busy("SlowDown".into())),
            ObjectError::Busy("object `s3://b/k` could not be read: SlowDown".into())
        );
        assert_eq!(unread(&object, unreached(true)), ObjectError::Unreached(unreached(true)));
        let why = Mismatch("no credentials: none".into());
        assert_eq!(unread(&object, unreached(false)), ObjectError::Mismatch(why));
        assert_eq!(
            unread(&object, StoreError::Refused("it is archived".into())),
            bad("object `s3://b/k` cannot be read: it is archived")
        );
    }
}
