//! Finds the app of a batch from the batch's id.

use crate::error::{Error, Result};
use crate::layout::batch::Pointer;
use crate::model::{AppName, BatchId};
use crate::seam::{Deps, StoreExt as _};

/// One GET.
pub async fn app_of(deps: &Deps, batch: BatchId) -> Result<AppName> {
    let pointer: Option<Pointer> = deps.store.find_fact(&batch).await?;
    pointer.map(|pointer| pointer.app).ok_or_else(|| {
        Error::not_found(format!("there is no batch `{batch}`"))
            .with_hint("`afn batch list APP` lists an app's batches; is this the right context?")
    })
}
