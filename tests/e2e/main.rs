//! Single calls end to end: the `afn` binary as people run it, worker processes that are killed and told to end, real
//! containers, and S3 and SQS on LocalStack behind a proxy that can be cut. Needs Docker and LocalStack: `sh tests/run`
//! brings up both. Nothing is skipped: what is missing fails, by name.

#[expect(dead_code, reason = "shared with the tests of containers, which use all of it")]
#[path = "../docker/fixtures.rs"]
mod fixtures;
#[expect(dead_code, reason = "shared with the tests of contexts, which use all of it")]
#[path = "../localstack/harness.rs"]
mod harness;
#[expect(dead_code, reason = "shared with the tests of containers, which use all of it")]
#[path = "../docker/images.rs"]
mod images;

mod bucket;
#[expect(dead_code, reason = "shared with the tests of batches, which use all of it")]
mod command;
#[expect(dead_code, reason = "shared with the tests of batches")]
mod proxy;
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
