//! What stands for AWS in an afn that was built without it: an error that says so.

use std::sync::Arc;

use async_trait::async_trait;

use super::machine::Machine;
use super::{Context, DataBucket, Env, Resource, Whereabouts};
use crate::error::{Error, Result};
use crate::model::AwsSecret;
use crate::seam::{Queues, SecretError, Secrets, Store};

const BUILD: &str = "`cargo install --path .` builds it with S3 and SQS, the feature `aws`";

pub(super) async fn open(context: &Context, _machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    Err(absent(context))
}

pub(super) async fn bucket(_: &Context, _: &Env, bucket: &DataBucket, _: &Machine) -> Result<Arc<dyn Store>> {
    let name = &bucket.name;
    Err(without(format!("`s3://{name}` needs S3, which this afn was built without")))
}

struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn fetch(&self, _: &AwsSecret) -> std::result::Result<String, SecretError> {
        Err(SecretError::Refused(format!("this afn was built without AWS; {BUILD}")))
    }
}

pub(super) fn secrets(_: &Context, _: &Env, machine: &Machine) -> Result<Arc<dyn Secrets>> {
    Ok(machine.secrets(Arc::new(NoSecrets)))
}

pub(super) async fn locate(context: &Context) -> Result<Whereabouts> {
    Err(absent(context))
}

pub(super) async fn make(context: &Context) -> Result<Vec<Resource>> {
    Err(absent(context))
}

pub async fn from_stack(context: Context, _stack: &str) -> Result<Context> {
    Err(absent(&context))
}

fn absent(context: &Context) -> Error {
    without(format!("context `{}` is `{}`, which this afn was built without", context.name, context.kind))
}

fn without(what: String) -> Error {
    Error::invalid(what).with_hint(BUILD)
}
