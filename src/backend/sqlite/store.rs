//! Objects in the file.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{File, blob};
use crate::model::Time;
use crate::seam::store::{
    ETag, Entry, List, Listed, Object, ObjectInfo, Put, PutObject, Range, Store, StoreError, check_delete,
    past_prefix,
};

pub(super) struct SqliteStore {
    file: Arc<File>,
}

impl SqliteStore {
    pub(super) fn new(file: Arc<File>) -> SqliteStore {
        SqliteStore { file }
    }
}

fn etag(revision: i64) -> ETag {
    ETag(revision.to_string())
}

#[async_trait]
impl Store for SqliteStore {
    async fn put(&self, key: &str, object: PutObject) -> Result<ETag, StoreError> {
        object.check(key)?;
        let (key, clock) = (key.to_owned(), self.file.clock.clone());
        let bytes = object.body.len();
        self.file.writer.write(bytes, move |file| put(file, &key, &object, clock.now()), || {}).await
    }

    async fn get(&self, key: &str, range: Range) -> Result<Object, StoreError> {
        let key = key.to_owned();
        let read = move |file: &Connection| {
            let (revision, info) = find(file, &key)?;
            let body = blob::read(file, revision, range.within(info.bytes))?;
            Ok(Object { body, info })
        };
        self.file.readers.read(read).await
    }

    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let key = key.to_owned();
        self.file.readers.read(move |file| find(file, &key).map(|(_, info)| info)).await
    }

    async fn list(&self, request: &List) -> Result<Listed, StoreError> {
        let request = request.clone();
        self.file.readers.read(move |file| list(file, &request)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        check_delete(keys)?;
        let keys = keys.to_vec();
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
}

fn put(file: &Connection, key: &str, object: &PutObject, now: Time) -> Result<ETag, StoreError> {
    let mut stands = file.prepare_cached("SELECT revision FROM objects WHERE key = ?1")?;
    let stands: Option<i64> = stands.query_row([key], |row| row.get(0)).optional()?;
    match (&object.mode, stands) {
        (Put::Create, Some(_)) => return Err(StoreError::Exists),
        (Put::Replace(_), None) => return Err(StoreError::NotFound),
        (Put::Replace(expected), Some(revision)) if etag(revision) != *expected => {
            return Err(StoreError::Changed);
        }
        (Put::Create, None) | (Put::Replace(_), Some(_)) => {}
    }
    if let Some(revision) = stands {
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
    write.execute(params![key, revision, bytes, now.0 as i64, object.content_type, object.note])?;
    Ok(etag(revision))
}

fn find(file: &Connection, key: &str) -> Result<(i64, ObjectInfo), StoreError> {
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
            note: row.get(4)?,
        };
        Ok((revision, info))
    };
    select.query_row([key], info).optional()?.ok_or(StoreError::NotFound)
}

fn list(file: &Connection, request: &List) -> Result<Listed, StoreError> {
    let mut listed = Listed::default();
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
            listed.entries.push(Entry {
                key,
                bytes: row.get::<_, i64>(1)? as u64,
                etag: etag(row.get(2)?),
                modified_at: Time(row.get::<_, i64>(3)? as u64),
            });
        }
        return Ok(listed);
    }
}
