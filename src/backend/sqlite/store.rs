//! Objects in the file.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{File, blob};
use crate::layout::Key;
use crate::limits;
use crate::model::Time;
use crate::seam::store::{
    ByteRange, ETag, List, ListEntry, ListPage, Object, ObjectInfo, PutObject, Store, StoreError,
    check_delete, past_prefix,
};

pub(super) struct SqliteStore {
    pub(super) file: Arc<File>,
}

fn etag(revision: i64) -> ETag {
    ETag(revision.to_string())
}

#[async_trait]
impl Store for SqliteStore {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let (key, clock) = (key.to_string(), self.file.clock.clone());
        object.check(&key)?;
        let bytes = object.body.len();
        let (watched, written) = (self.file.watched.clone(), key.clone());
        let notify = move || watched.notify(&written);
        self.file.writer.write(bytes, move |file| put(file, &key, &object, clock.now()), notify).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        let key = key.clone();
        let read = move |file: &Connection| {
            let (revision, info) = find(file, &key)?;
            range.check(&key, info.bytes)?;
            let body = blob::read(file, revision, range.within(info.bytes))?;
            Ok(Object { body, info })
        };
        self.file.readers.read(read).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let key = key.clone();
        self.file.readers.read(move |file| find(file, &key).map(|(_, info)| info)).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        let request = request.clone();
        self.file.readers.read(move |file| list(file, &request)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        check_delete(keys)?;
        let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
        let delete = move |file: &Connection| {
            for key in &keys {
                let sql = "DELETE FROM objects WHERE key = ?1 RETURNING revision";
                let mut delete = file.prepare_cached(sql)?;
                if let Some(revision) = delete.query_row([key], |row| row.get(0)).optional()? {
                    blob::delete(file, revision)?;
                }
            }
            Ok(())
        };
        self.file.writer.write(0, delete, || {}).await
    }

    /// What other processes write is found by looking for it, which costs microseconds.
    fn created(&self, key: &Key) -> BoxFuture<'static, ()> {
        let (file, key) = (self.file.clone(), key.clone());
        let watch = file.watched.watch(key.to_string());
        let look = async move {
            let mut pause = limits::SQLITE_LOOK_MIN;
            loop {
                file.clock.sleep(pause).await;
                let key = key.clone();
                let found = file.readers.read(move |file| find(file, &key).map(drop)).await;
                if !matches!(found, Err(StoreError::NotFound)) {
                    return;
                }
                pause = (pause + pause / 4).min(limits::SQLITE_LOOK_MAX);
            }
        };
        async move {
            tokio::select! {
                biased;
                () = watch.created() => {}
                () = look => {}
            }
        }
        .boxed()
    }
}

fn put(file: &Connection, key: &str, object: &PutObject, now: Time) -> Result<ETag, StoreError> {
    let mut select = file.prepare_cached("SELECT revision FROM objects WHERE key = ?1")?;
    let existing: Option<i64> = select.query_row([key], |row| row.get(0)).optional()?;
    object.mode.check(existing.map(etag).as_ref())?;
    if let Some(revision) = existing {
        blob::delete(file, revision)?;
    }
    let mut next = file.prepare_cached("UPDATE revisions SET last = last + 1 RETURNING last")?;
    let revision: i64 = next.query_row([], |row| row.get(0))?;
    blob::write(file, revision, &object.body)?;
    let mut write = file.prepare_cached(
        "INSERT OR REPLACE INTO objects (key, revision, bytes, modified_at, content_type, note)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let bytes = object.body.len() as i64;
    write.execute(params![key, revision, bytes, now.0 as i64, object.content_type, object.metadata])?;
    Ok(etag(revision))
}

fn find(file: &Connection, key: &Key) -> Result<(i64, ObjectInfo), StoreError> {
    let mut select = file.prepare_cached(
        "SELECT revision, bytes, modified_at, content_type, note FROM objects WHERE key = ?1",
    )?;
    let info = |row: &Row<'_>| {
        let revision = row.get(0)?;
        let info = ObjectInfo {
            bytes: row.get::<_, i64>(1)? as u64,
            etag: etag(revision),
            modified_at: Time(row.get::<_, i64>(2)? as u64),
            content_type: row.get(3)?,
            metadata: row.get(4)?,
        };
        Ok((revision, info))
    };
    select.query_row([key.to_string()], info).optional()?.ok_or(StoreError::NotFound)
}

fn list(file: &Connection, request: &List) -> Result<ListPage, StoreError> {
    let mut listed = ListPage::default();
    let mut last = None;
    let after = request.start_after.as_ref().filter(|key| **key >= request.prefix);
    let (mut from, mut comparison) = match after {
        Some(key) => (key.clone(), ">"),
        None => (request.prefix.clone(), ">="),
    };
    // Each round scans up to the next common prefix, and the one after it begins behind that.
    'seek: loop {
        let mut select = file.prepare_cached(&format!(
            "SELECT key, bytes, revision, modified_at FROM objects WHERE key {comparison} ?1 ORDER BY key"
        ))?;
        let mut rows = select.query([&from])?;
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            if !key.starts_with(&request.prefix) {
                return Ok(listed);
            }
            if listed.entries.len() + listed.prefixes.len() >= request.page() {
                listed.next = last;
                return Ok(listed);
            }
            if let Some(common) = request.common_prefix(&key) {
                from = past_prefix(common);
                comparison = ">";
                listed.prefixes.push(common.to_owned());
                last = Some(from.clone());
                continue 'seek;
            }
            last = Some(key.clone());
            listed.entries.push(ListEntry {
                key,
                bytes: row.get::<_, i64>(1)? as u64,
                etag: etag(row.get(2)?),
                modified_at: Time(row.get::<_, i64>(3)? as u64),
            });
        }
        return Ok(listed);
    }
}
