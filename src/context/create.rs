//! Makes what a context stands on, where it is missing: a folder, or bucket and queues.

use super::{Context, Kind, remote};
use crate::error::{Error, Result};

/// One thing that the context stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// ``bucket `afn` ``
    pub what: String,
    /// Made now; false when it was there.
    pub made: bool,
}

/// Idempotent: what is there is left as it is, also when it is set up differently.
pub async fn create(context: &Context) -> Result<Vec<Step>> {
    match context.kind {
        Kind::Local => folder(context),
        Kind::Localstack | Kind::Aws => remote::make(context).await,
    }
}

fn folder(context: &Context) -> Result<Vec<Step>> {
    let dir = context.data_dir()?;
    let made = !dir.is_dir();
    std::fs::create_dir_all(dir)
        .map_err(|error| Error::invalid(format!("cannot make the folder {}: {error}", dir.display())))?;
    Ok(vec![Step { what: format!("folder `{}`", dir.display()), made }])
}
