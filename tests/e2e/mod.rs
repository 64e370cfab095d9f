//! Single calls end to end: the `afn` binary as people run it, worker processes that are killed and told to end, real
//! containers, and S3 and SQS on LocalStack behind a proxy that can be cut. Needs Docker and LocalStack.

use crate::services::{docker as fixtures, images, localstack as harness, proxy};
use crate::support::command;

mod bucket;
mod world;

mod bad_connections;
mod calls;
mod fdk;
mod lost_workers;
mod messages;
mod sick_worker;
mod stack;
mod stopping;
mod storm;
mod tutorial;
