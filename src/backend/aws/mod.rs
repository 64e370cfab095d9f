//! S3 as the store and SQS as the queues. The only place that knows the SDK: its errors are mapped in `errors`, its
//! clients made in `config`. It does not retry; the decorators of the seams do.

mod config;
mod errors;
mod http;
pub mod make;
mod s3;
mod sqs;
pub mod stack;

pub use config::{Connection, Place};
pub use s3::S3Store;
pub use sqs::SqsQueue;
