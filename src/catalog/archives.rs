//! Archives: functions' folders, packed. Facts, each named by the digest of its bytes.

use bytes::Bytes;

use super::Catalog;
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, Digest};
use crate::seam::store::{PutObject, Range};
use crate::seam::{StoreError, StoreExt as _};

impl Catalog {
    /// Stores an archive, unless it is there. Its size alone is compared with what stands: a write is whole or not at
    /// all, and whoever reads it checks the digest.
    pub async fn put_archive(&self, app: &AppName, archive: Bytes) -> Result<Digest> {
        if archive.len() as u64 > limits::ARCHIVE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "an archive of {} bytes is over the limit of {}",
                archive.len(),
                limits::ARCHIVE_BYTES_MAX
            )));
        }
        let digest = Digest::of(&archive);
        let key = Key::Archive(app.clone(), digest.clone()).to_string();
        if !self.seams.store.exists(&key).await? {
            let put = PutObject::create(archive.clone()).content_type("application/gzip");
            match self.seams.store.put(&key, put).await {
                Ok(_) => return Ok(digest),
                Err(StoreError::Exists) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.seams.store.head(&key).await?.bytes == archive.len() as u64 {
            Ok(digest)
        } else {
            Err(damaged(&key))
        }
    }

    pub async fn get_archive(&self, app: &AppName, digest: &Digest) -> Result<Bytes> {
        let key = Key::Archive(app.clone(), digest.clone()).to_string();
        let found = match self.seams.store.get(&key, Range::All).await {
            Err(StoreError::NotFound) => {
                return Err(Error::not_found(format!("archive `{digest}` not found in app `{app}`"))
                    .hint("deploy the function again"));
            }
            found => found?,
        };
        if Digest::of(&found.body) == *digest { Ok(found.body) } else { Err(damaged(&key)) }
    }
}

fn damaged(key: &str) -> Error {
    Error::internal(format!("object `{key}` is not what its name says"))
        .hint("delete the object and deploy the function again")
}
