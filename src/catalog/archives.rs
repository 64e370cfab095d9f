//! Archives: functions' folders, packed. Facts, each named by the digest of its bytes.

use bytes::Bytes;

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, Digest};
use crate::seam::StoreExt as _;
use crate::seam::store::PutObject;

impl Catalog {
    /// Stores an archive, unless it is there. Only the size of an existing one is compared: a write is atomic, and readers
    /// check the digest.
    pub async fn put_archive(&self, app: &AppName, archive: Bytes) -> Result<Digest> {
        if archive.len() as u64 > limits::ARCHIVE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "an archive of {} bytes is over the limit of {}",
                archive.len(),
                limits::ARCHIVE_BYTES_MAX
            )));
        }
        let digest = Digest::of(&archive);
        let key = Key::Archive(app.clone(), digest.clone());
        if !self.deps.store.exists(&key).await? {
            let put = PutObject::create(archive.clone()).content_type("application/gzip");
            if self.deps.store.create(&key, put).await? {
                return Ok(digest);
            }
        }
        if self.deps.store.head(&key).await?.bytes == archive.len() as u64 {
            Ok(digest)
        } else {
            Err(damaged(&key))
        }
    }

    pub async fn get_archive(&self, app: &AppName, digest: &Digest) -> Result<Bytes> {
        let key = Key::Archive(app.clone(), digest.clone());
        let found = self.deps.store.find(&key, limits::ARCHIVE_BYTES_MAX).await?.ok_or_else(|| {
            Error::not_found(format!("archive `{digest}` not found in app `{app}`"))
                .with_hint("deploy the function again")
        })?;
        if Digest::of(&found.body) == *digest { Ok(found.body) } else { Err(damaged(&key)) }
    }
}

fn damaged(key: &Key) -> Error {
    Error::internal(format!("object `{key}` is not what its name says"))
        .with_hint("delete the object and deploy the function again")
}
