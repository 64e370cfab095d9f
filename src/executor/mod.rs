//! Executors: Docker for images, child processes for archives. A launcher starts sandboxes, the pool keeps hot ones.

pub mod sandbox;
pub mod scripted;
