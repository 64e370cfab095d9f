//! What needs nothing but this machine: no Docker, no LocalStack, no network, no toolchain.
//!
//! ```sh
//! cargo test --test offline cli::
//! ```

#[macro_use]
#[expect(dead_code, reason = "`tests/system.rs` uses the rest")]
mod support;

mod cli;
mod conformance;
mod embedded;
mod field;
