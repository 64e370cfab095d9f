//! Contexts on S3 and SQS.

use std::sync::Arc;

use super::create::Step;
use super::open::Machine;
use super::{Context, Env, Kind, QueueNames};
use crate::backend::aws::make::{self, Made};
use crate::backend::aws::{Connection, Place, S3Store, SqsQueue};
use crate::error::Result;
use crate::seam::{Queues, Store};

fn place(context: &Context) -> Place {
    Place {
        endpoint: context.endpoint.clone(),
        region: context.region.clone(),
        profile: context.profile.clone(),
        is_localstack: context.kind == Kind::Localstack,
    }
}

pub(super) async fn connect(context: &Context) -> Result<Connection> {
    Connection::open(&place(context)).await
}

pub(super) async fn open(context: &Context, machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    let connection = connect(context).await?;
    let store = S3Store::new(&connection, context.bucket()?, &context.prefix);
    let queues = machine.queues(&context.queues, |name| Arc::new(SqsQueue::new(&connection, name)));
    Ok((machine.store(Arc::new(store)), queues))
}

/// Any bucket, reached as the context's own is; by the SDK's environment from a context that has none.
pub(super) async fn bucket(
    context: &Context,
    env: &Env,
    bucket: &str,
    machine: &Machine,
) -> Result<Arc<dyn Store>> {
    let place = match context.kind {
        // The SDK would look for the bucket in the host name of this one.
        Kind::Local => Place { endpoint: env.text("AWS_ENDPOINT_URL_S3")?, ..Place::default() },
        Kind::Localstack | Kind::Aws => place(context),
    };
    let connection = Connection::open(&place).await?;
    Ok(machine.store(Arc::new(S3Store::new(&connection, bucket, ""))))
}

pub(super) async fn make(context: &Context) -> Result<Vec<Step>> {
    let step = |what: String, made: Made| Step { what, made: made == Made::Now };
    let connection = connect(context).await?;
    let bucket = context.bucket()?;
    let mut steps = vec![step(format!("bucket `{bucket}`"), make::bucket(&connection, bucket).await?)];
    for name in [&context.queues.calls, &context.queues.chunks, &context.queues.batches] {
        let dead = QueueNames::dead(name);
        steps.push(step(format!("queue `{dead}`"), make::dead_queue(&connection, &dead).await?));
        steps.push(step(format!("queue `{name}`"), make::live_queue(&connection, name, &dead).await?));
    }
    Ok(steps)
}
