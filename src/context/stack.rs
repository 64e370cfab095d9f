//! A context from the outputs of the core stack, `infra/core.yaml`.

use std::collections::BTreeMap;

use super::{Context, QueueNames, remote};
use crate::backend::aws::stack;
use crate::error::{Error, Result};

/// The context with bucket, prefix, queues and region of a stack. Endpoint, region and profile of `context` say where
/// the stack is looked for.
pub async fn from_stack(mut context: Context, stack: &str) -> Result<Context> {
    let connection = remote::connect(&context).await?;
    fill(&mut context, stack, stack::outputs(&connection, stack).await?)?;
    context.region = Some(connection.region);
    Ok(context)
}

/// The names of outputs are those of the template.
fn fill(context: &mut Context, stack: &str, mut outputs: BTreeMap<String, String>) -> Result<()> {
    let mut take = |name: &str| {
        outputs.remove(name).ok_or_else(|| {
            Error::invalid(format!("stack `{stack}` has no output `{name}`"))
                .with_hint("deploy infra/core.yaml of this release")
        })
    };
    context.bucket = Some(take("BucketName")?);
    context.queues = QueueNames {
        calls: take("CallsQueueName")?,
        chunks: take("ChunksQueueName")?,
        batches: take("BatchesQueueName")?,
    };
    // CloudFormation has no empty outputs: without a prefix there is none.
    context.prefix = outputs.remove("Prefix").unwrap_or_default();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Kind;

    #[test]
    fn a_stack_of_something_else_is_named() {
        let mut context = Context::new("work".parse().unwrap(), Kind::Aws);
        let mut outputs: BTreeMap<String, String> =
            ["BucketName", "CallsQueueName"].map(|name| (name.into(), name.into())).into();
        let error = fill(&mut context, "web", outputs.clone()).unwrap_err();
        assert_eq!(error.message(), "stack `web` has no output `ChunksQueueName`");
        outputs.extend(["ChunksQueueName", "BatchesQueueName"].map(|name| (name.into(), name.into())));
        fill(&mut context, "web", outputs).unwrap();
        assert_eq!((context.bucket.as_deref(), context.prefix.as_str()), (Some("BucketName"), ""));
    }
}
