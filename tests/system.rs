//! What needs more than this machine has by itself: LocalStack, Docker, toolchains, or both processors for minutes.
//! `sh tests/run` brings it up. Nothing is skipped: what is missing fails, by name.
//!
//! ```sh
//! cargo test --test system batches:: -- --test-threads 3
//! ```

#[macro_use]
#[expect(dead_code, reason = "`tests/offline.rs` uses the rest")]
mod support;
mod services;

mod batches;
mod chaos;
mod crash;
mod docker;
mod e2e;
mod localstack;
mod readme;
mod toolchains;
