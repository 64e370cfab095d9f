//! Makes what a context stands on, where it is missing: a folder, or bucket and queues.

use super::{Context, Kind};
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
        Kind::Localstack | Kind::Aws => remote(context).await,
    }
}

fn folder(context: &Context) -> Result<Vec<Step>> {
    let dir = context.data_dir()?;
    let made = !dir.is_dir();
    std::fs::create_dir_all(dir)
        .map_err(|error| Error::invalid(format!("cannot make the folder {}: {error}", dir.display())))?;
    Ok(vec![Step { what: format!("folder `{}`", dir.display()), made }])
}

#[cfg(feature = "aws")]
async fn remote(context: &Context) -> Result<Vec<Step>> {
    use super::QueueNames;
    use crate::backend::aws::make::{self, Made};

    let step = |what: String, made: Made| Step { what, made: made == Made::Now };
    let connection = super::open::connect(context).await?;
    let bucket = context.bucket()?;
    let mut steps = vec![step(format!("bucket `{bucket}`"), make::bucket(&connection, bucket).await?)];
    for name in [&context.queues.calls, &context.queues.chunks, &context.queues.batches] {
        let dead = QueueNames::dead(name);
        steps.push(step(format!("queue `{dead}`"), make::dead_queue(&connection, &dead).await?));
        steps.push(step(format!("queue `{name}`"), make::live_queue(&connection, name, &dead).await?));
    }
    Ok(steps)
}

#[cfg(not(feature = "aws"))]
async fn remote(context: &Context) -> Result<Vec<Step>> {
    Err(super::open::without_aws(context))
}
