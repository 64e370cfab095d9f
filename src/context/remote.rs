//! Contexts on S3 and SQS, and the secrets of AWS.

use std::sync::Arc;

use futures_util::future::join_all;

use super::machine::Machine;
use super::{Context, DataBucket, Env, Kind, QueueNames, Resource, Whereabouts, env};
use crate::backend::aws::make;
use crate::backend::aws::{AwsSecrets, Connection, ConnectionOptions, S3Store, SqsQueue};
use crate::error::{Error, Result};
use crate::seam::{Queues, Secrets, Store};

fn options(context: &Context) -> ConnectionOptions {
    ConnectionOptions {
        endpoint: context.endpoint.clone(),
        region: context.region.clone(),
        profile: context.profile.clone(),
        is_localstack: context.kind == Kind::Localstack,
    }
}

pub(super) async fn connect(context: &Context) -> Result<Connection> {
    Connection::open(&options(context)).await
}

pub(super) async fn open(context: &Context, machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    let connection = connect(context).await?;
    let store = S3Store::new(&connection, context.bucket()?, &context.prefix);
    let queues = machine.queues(&context.queues, |name| Arc::new(SqsQueue::new(&connection, name)));
    Ok((machine.store(Arc::new(store)), queues))
}

/// Any bucket, reached as the context's own is; as the environment says from a context that has none.
pub(super) async fn bucket(
    context: &Context,
    env: &Env,
    bucket: &DataBucket,
    machine: &Machine,
) -> Result<Arc<dyn Store>> {
    let mut options = match context.kind {
        Kind::Local => {
            let options = environment(env)?;
            // The SDK would look for the bucket in the host name of AWS_ENDPOINT_URL_S3.
            let endpoint =
                options.endpoint.map_or_else(|| env.text("AWS_ENDPOINT_URL_S3"), |url| Ok(Some(url)));
            ConnectionOptions { endpoint: endpoint?, ..options }
        }
        Kind::Localstack | Kind::Aws => options(context),
    };
    if let Some(region) = &bucket.region {
        options.region = Some(region.to_string());
    }
    if let Some(profile) = &bucket.profile {
        // Made-up keys are for LocalStack's own account.
        (options.profile, options.is_localstack) = (Some(profile.clone()), false);
    }
    let connection = Connection::open(&options).await?;
    Ok(machine.store(Arc::new(S3Store::of_source(&connection, bucket.name.as_str()))))
}

/// What the environment says of AWS, for contexts that have nothing to do with it.
fn environment(env: &Env) -> Result<ConnectionOptions> {
    Ok(ConnectionOptions {
        endpoint: env.get(env::ENDPOINT)?,
        region: env.get(env::REGION)?,
        profile: env.get(env::PROFILE)?,
        is_localstack: false,
    })
}

/// The secrets of the context's region and account; for a local context, of those that the environment names. Connects
/// at the first request.
pub(super) fn secrets(context: &Context, env: &Env, machine: &Machine) -> Result<Arc<dyn Secrets>> {
    let options = match context.kind {
        Kind::Local => environment(env)?,
        Kind::Localstack | Kind::Aws => options(context),
    };
    Ok(machine.secrets(Arc::new(AwsSecrets::new(options, machine.clock.clone()))))
}

/// One request for the account and one for each queue, at once.
pub(super) async fn locate(context: &Context) -> Result<Whereabouts> {
    let connection = connect(context).await?;
    let queues = join_all(context.queues.all().map(|name| async {
        let url = SqsQueue::new(&connection, name).url().await.map(str::to_owned);
        (name.to_owned(), url.map_err(Error::from))
    }));
    let (account, queues) = tokio::join!(connection.account(), queues);
    let (region, bucket) = (connection.region.clone(), context.bucket.clone());
    Ok(Whereabouts { account, region, bucket, queues })
}

pub(super) async fn make(context: &Context) -> Result<Vec<Resource>> {
    let resource = |what: String, made: bool| Resource { what, made };
    let connection = connect(context).await?;
    let bucket = context.bucket()?;
    let mut resources =
        vec![resource(format!("bucket `{bucket}`"), make::bucket(&connection, bucket).await?)];
    for name in context.queues.all() {
        let dead = QueueNames::dead(name);
        resources.push(resource(format!("queue `{dead}`"), make::queue(&connection, &dead, None).await?));
        resources
            .push(resource(format!("queue `{name}`"), make::queue(&connection, name, Some(&dead)).await?));
    }
    Ok(resources)
}
