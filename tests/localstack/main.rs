//! What needs S3 and SQS, on LocalStack: `sh tests/run` brings it up, or `localstack/up` for
//! `cargo test --test localstack` alone. Nothing is skipped: without LocalStack every test fails.

#[path = "../conformance/suite/mod.rs"]
#[macro_use]
mod suite;

mod conformance;
mod context;
mod credentials;
mod harness;
mod stack;
