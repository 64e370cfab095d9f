//! A context from the outputs of the core stack, `infra/core.yaml`.

use super::{Context, QueueNames};
use crate::error::{Error, Result};

/// Names of outputs, as the template has them.
const BUCKET: &str = "BucketName";
const PREFIX: &str = "Prefix";
const CALLS: &str = "CallsQueueName";
const CHUNKS: &str = "ChunksQueueName";
const BATCHES: &str = "BatchesQueueName";

/// The context with bucket, prefix, queues and region of a stack. Endpoint, region and profile of `context` say where
/// the stack is looked for.
#[cfg(feature = "aws")]
pub async fn from_stack(mut context: Context, stack: &str) -> Result<Context> {
    let connection = super::open::connect(&context).await?;
    let mut outputs = crate::backend::aws::stack::outputs(&connection, stack).await?;
    let mut take = |name: &str| {
        outputs.remove(name).ok_or_else(|| {
            Error::invalid(format!("stack `{stack}` has no output `{name}`"))
                .hint("deploy infra/core.yaml of this release")
        })
    };
    context.bucket = Some(take(BUCKET)?);
    context.queues = QueueNames { calls: take(CALLS)?, chunks: take(CHUNKS)?, batches: take(BATCHES)? };
    // CloudFormation has no empty outputs: without a prefix there is none.
    context.prefix = outputs.remove(PREFIX).unwrap_or_default();
    context.region = Some(connection.region);
    Ok(context)
}

#[cfg(not(feature = "aws"))]
pub async fn from_stack(context: Context, _stack: &str) -> Result<Context> {
    Err(super::open::without_aws(&context))
}
