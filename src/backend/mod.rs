//! Implementations of the store and queue seams. They know the seams and nothing of the engine.

#[cfg(feature = "aws")]
pub mod aws;
pub mod memory;
pub mod sqlite;
