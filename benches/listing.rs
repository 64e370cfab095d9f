//! How fast a list of objects becomes a batch in the embedded context when workers read the objects, and what that takes of
//! requests and memory. The list is made up, and no object is there:
//!
//! ```sh
//! cargo bench --bench listing -- 1000000        # objects
//! ```

mod world;

use std::sync::Arc;

use afn::layout::Key;
use afn::model::{AppName, Digest, Format, Source, Time};
use afn::seam::Store;
use afn::seam::count::CountStore;
use afn::seam::store::{
    ByteRange, ETag, List, ListEntry, ListPage, Object, ObjectInfo, PutObject, StoreError,
};
use afn::submit::batch::{BatchOptions, BatchRequest, submit};
use afn::submit::source;
use async_trait::async_trait;

use self::world::World;

fn main() {
    afn::embedded::memory::give_back();
    let objects = world::numbers().next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(folder.path(), objects));
}

async fn run(folder: &std::path::Path, objects: u64) {
    let World { deps, counts } = world::open(folder);
    let app: AppName = "bench".parse().expect("a name");
    let nothing = Source::Image { reference: "nothing".to_owned(), digest: None };
    world::publish(&deps, &app, nothing, Format::Default, &["true"]).await;
    let before = counts.snapshot();
    let started = deps.clock.monotonic();
    let bucket = Arc::new(CountStore::new(Arc::new(Listed(objects)), counts.clone()));
    let options = source::OpenOptions::default();
    let source = source::open("s3://bucket/photos/", options, Some(bucket)).await.expect("a source");
    let options = BatchOptions::default();
    let request = BatchRequest { app, route: "/f".parse().expect("a route"), source, options };
    let submitted = submit(&deps, request, &|_| {}).await.expect("submitted");
    let took = (deps.clock.monotonic() - started).as_secs_f64();
    assert_eq!(submitted.calls, objects);
    let after = counts.snapshot();
    let pages = after.list.requests - before.list.requests;
    println!(
        "{objects} objects, {} chunks in {took:.2} s: {:.0} objects/s, {pages} list pages and {} requests beside them, \
         {:.0} bytes stored for each, peak memory {} MiB",
        submitted.chunks,
        objects as f64 / took,
        after.requests() - before.requests() - pages,
        (after.put.bytes - before.put.bytes) as f64 / objects as f64,
        world::peak_mib(),
    );
}

/// A list of so many objects.
struct Listed(u64);

const PREFIX: &str = "photos/2026/11/";

#[async_trait]
impl Store for Listed {
    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let number = |key: &str| {
            key.rsplit('/').next().and_then(|name| name.strip_suffix(".jpg")?.parse::<u64>().ok())
        };
        let from =
            request.start_after.as_deref().map_or(0, |after| number(after).expect("a key of ours") + 1);
        let to = self.0.min(from + request.page() as u64);
        let entry = |n: u64| ListEntry {
            key: format!("{PREFIX}{n:012}.jpg"),
            bytes: 100_000 + n % 7_919,
            // As random as an MD5, which no compressor makes much smaller.
            etag: ETag(format!("\"{}\"", &Digest::of(&n.to_le_bytes()).as_str()[..32])),
            modified_at: Time(0),
        };
        let entries: Vec<ListEntry> = (from..to).map(entry).collect();
        let next = (to < self.0).then(|| entries.last().expect("a page").key.clone());
        Ok(ListPage { entries, prefixes: Vec::new(), next })
    }

    async fn get(&self, key: &Key, _: ByteRange) -> Result<Object, StoreError> {
        panic!("{key} is read")
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        panic!("{key} is asked for")
    }

    async fn put(&self, key: &Key, _: PutObject) -> Result<ETag, StoreError> {
        panic!("{key} is written")
    }

    async fn delete(&self, _: &[Key]) -> Result<(), StoreError> {
        panic!("a source is not deleted")
    }
}
