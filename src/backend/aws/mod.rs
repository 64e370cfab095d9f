//! S3 as the store, SQS as the queues, and secrets. The only place that knows the SDK: its errors are mapped in `errors`, its
//! clients made in `config`. It does not retry; a decorator does.

mod config;
mod errors;
pub mod make;
mod s3;
mod secrets;
mod sqs;
pub mod stack;

pub use config::{Connection, ConnectionOptions};
pub use s3::S3Store;
pub use secrets::AwsSecrets;
pub use sqs::SqsQueue;
