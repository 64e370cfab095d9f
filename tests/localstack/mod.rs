//! S3, SQS and secrets, on LocalStack: `sh tests/run` brings it up, or `localstack/up` for
//! `cargo test --test system localstack::` alone.

use crate::services::localstack as harness;
use crate::support::suite;

mod conformance;
mod context;
mod credentials;
mod secrets;
mod stack;
