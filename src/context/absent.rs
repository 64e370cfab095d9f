//! What stands for S3 and SQS in an afn that was built without them: an error that says so.

use std::sync::Arc;

use super::create::Step;
use super::open::Machine;
use super::{Context, Env};
use crate::error::{Error, Result};
use crate::seam::{Queues, Store};

pub(super) async fn open(context: &Context, _machine: &Machine) -> Result<(Arc<dyn Store>, Queues)> {
    Err(absent(context))
}

pub(super) async fn bucket(_: &Context, _: &Env, bucket: &str, _: &Machine) -> Result<Arc<dyn Store>> {
    Err(without(format!("`s3://{bucket}` needs S3, which this afn was built without")))
}

pub(super) async fn make(context: &Context) -> Result<Vec<Step>> {
    Err(absent(context))
}

pub async fn from_stack(context: Context, _stack: &str) -> Result<Context> {
    Err(absent(&context))
}

fn absent(context: &Context) -> Error {
    without(format!("context `{}` is `{}`, which this afn was built without", context.name, context.kind))
}

fn without(what: String) -> Error {
    Error::invalid(what).hint("`cargo install --path .` builds it with S3 and SQS, the feature `aws`")
}
