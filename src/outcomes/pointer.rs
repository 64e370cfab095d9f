//! Which app a batch belongs to: all that its id alone leads to.

use crate::error::{Error, Result};
use crate::layout::batch::Pointer;
use crate::layout::{Key, object};
use crate::model::{AppName, BatchId};
use crate::seam::store::Range;
use crate::seam::{Seams, StoreError};

/// One GET.
pub async fn app_of(seams: &Seams, batch: BatchId) -> Result<AppName> {
    let key = Key::Pointer(batch).to_string();
    match seams.store.get(&key, Range::All).await {
        Ok(pointer) => Ok(object::decode::<Pointer>(&key, &pointer.body)?.app),
        Err(StoreError::NotFound) => Err(Error::not_found(format!("there is no batch `{batch}`"))
            .hint("`afn batch list APP` lists an app's batches; is this the right context?")),
        Err(error) => Err(error.into()),
    }
}
