//! The store's own time. Whatever is deleted or sent again goes by the store's clock on both ends: ages by a machine's
//! clock that is a year fast would delete what is alive (H14).

use crate::error::Result;
use crate::layout::Key;
use crate::model::Time;
use crate::seam::Deps;
use crate::seam::store::PutObject;

/// Writes a small object, reads when the store says it was written, deletes it.
pub async fn now(deps: &Deps) -> Result<Time> {
    loop {
        let key = Key::Probe(deps.nonce());
        match deps.store.put(&key, PutObject::create("")).await {
            Ok(_) | Err(crate::seam::StoreError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let info = match deps.store.head(&key).await {
            // Somebody who cleans up was faster.
            Err(crate::seam::StoreError::NotFound) => continue,
            info => info?,
        };
        deps.store.delete(&[key]).await?;
        return Ok(info.modified_at);
    }
}
