//! Creates what a context needs, where it is missing: a folder, or bucket and queues.

use std::sync::Arc;

use super::{Context, Kind, Resource, open, remote};
use crate::error::{Error, Result};
use crate::event::Silent;
use crate::seam::Deps;
use crate::store_id;

/// Idempotent: what is there is left as it is, also when it is set up differently.
pub async fn create(context: &Context) -> Result<Vec<Resource>> {
    match context.kind {
        Kind::Local => folder(context),
        Kind::Localstack | Kind::Aws => {
            let mut resources = remote::make(context).await?;
            let Deps { store, clock, rng, .. } = open(context, Arc::new(Silent)).await?.deps;
            let (id, made) = store_id::find_or_create(&*store, &*clock, &*rng).await?;
            resources.push(Resource { what: format!("store `{id}`"), made });
            Ok(resources)
        }
    }
}

fn folder(context: &Context) -> Result<Vec<Resource>> {
    let dir = context.data_dir()?;
    let made = !dir.is_dir();
    crate::folder::make(dir)
        .map_err(|error| Error::invalid(format!("cannot make the folder {}: {error}", dir.display())))?;
    Ok(vec![Resource { what: format!("folder `{}`", dir.display()), made }])
}
