//! Which retention applies: a batch's own, else its app's, else the context's, else the default. It lies in the store, so
//! that all workers delete by the same.

use crate::error::Result;
use crate::layout::object::Settings;
use crate::model::{App, AppName, Retention};
use crate::seam::{Store, StoreExt as _};

/// Of the store that a context names, for all apps that say nothing else. One request.
pub async fn of_context(store: &dyn Store) -> Result<Retention> {
    let settings = store.find_fact::<Settings>(&()).await?;
    Ok(settings.and_then(|settings| settings.retention).unwrap_or_default())
}

/// Of an app: its own, or that of the context. One request.
pub async fn of_app(store: &dyn Store, app: &AppName, of_context: Retention) -> Result<Retention> {
    let app = store.find_fact::<App>(app).await?;
    Ok(app.and_then(|app| app.retention).unwrap_or(of_context))
}
