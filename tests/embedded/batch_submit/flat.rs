//! Memory does not grow with the source: counted in the bytes of records that are alive, whatever is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use afn::layout::Key;
use afn::limits;
use afn::seam::store::{ByteRange, ETag, List, ListPage, Object, ObjectInfo, PutObject, Store, StoreError};
use afn::submit::batch::submit;
use afn::submit::source::{Origin, Pass, Source, SourceRecord};
use async_trait::async_trait;
use bytes::Bytes;

use super::ground::Ground;

#[derive(Default)]
struct Alive {
    now: AtomicU64,
    peak: AtomicU64,
}

/// A payload that is counted while it is alive.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<Alive>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.now.fetch_sub(self.bytes.len() as u64, Ordering::SeqCst);
    }
}

/// Records small, of the size of a chunk's share, and too big for a chunk.
const SIZES: [usize; 3] = [10_000, limits::RECORD_INLINE_BYTES_MAX as usize, 3 << 19];

struct Counting {
    left: usize,
    alive: Arc<Alive>,
}

#[async_trait]
impl Source for Counting {
    fn origin(&self) -> Origin {
        Origin {
            location: "x".to_owned(),
            format: "lines".to_owned(),
            pass: Pass::Record,
            delimiter: None,
            key: None,
            fetch: None,
        }
    }

    async fn next(&mut self) -> afn::Result<Vec<SourceRecord>> {
        if self.left == 0 {
            return Ok(Vec::new());
        }
        self.left -= 1;
        let bytes = vec![b'x'; SIZES[self.left % SIZES.len()]];
        let now = self.alive.now.fetch_add(bytes.len() as u64, Ordering::SeqCst) + bytes.len() as u64;
        self.alive.peak.fetch_max(now, Ordering::SeqCst);
        let counted = Counted { bytes, alive: self.alive.clone() };
        Ok(vec![SourceRecord { payload: Bytes::from_owner(counted).into(), ..SourceRecord::default() }])
    }
}

/// Takes its time with every put, and keeps no chunk.
struct Sluggish(Arc<dyn Store>);

#[async_trait]
impl Store for Sluggish {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if matches!(key, Key::Chunk(..) | Key::Input(..)) {
            return Ok(ETag("forgotten".to_owned()));
        }
        self.0.put(key, object).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.0.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.0.head(key).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.0.list(request).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.0.delete(keys).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_records_alive_are_bounded() {
    let records = 48;
    let ground = Ground::new().await;
    let alive = Arc::new(Alive::default());
    let source = Counting { left: records, alive: alive.clone() };
    let deps = ground.through(Sluggish(ground.deps.store.clone()));
    let submitted = submit(&deps, ground.request(Box::new(source)), &|_| {}).await.unwrap();
    assert_eq!(submitted.calls, records as u64);
    assert_eq!(alive.now.load(Ordering::SeqCst), 0, "all are let go");
    let peak = alive.peak.load(Ordering::SeqCst);
    let bound = limits::SUBMIT_BYTES_IN_FLIGHT + SIZES[2] as u64;
    assert!(submitted.bytes > bound + limits::MIB, "enough to tell");
    assert!(peak <= bound, "{peak} bytes alive");
    assert!(peak > limits::SUBMIT_BYTES_IN_FLIGHT / 2, "{peak} bytes alive: nothing was slow");
}
