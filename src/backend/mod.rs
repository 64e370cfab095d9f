//! Implementations of the store and queue deps. They know the deps and nothing of the engine.

#[cfg(feature = "aws")]
pub mod aws;
pub mod memory;
pub mod sqlite;
mod watched;
