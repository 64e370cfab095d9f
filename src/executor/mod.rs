//! Executors: Docker for images, child processes for archives. A launcher starts sandboxes, the pool keeps hot ones.

pub mod composite;
pub mod docker;
mod folder_lock;
pub mod own_batch;
pub mod owner;
pub mod pool;
pub mod process;
pub mod sandbox;
#[cfg(feature = "testing")]
pub mod scripted;
pub mod secrets;

pub use composite::Composite;
pub use docker::{DockerLauncher, DockerOptions};
pub use own_batch::{BatchConfig, OwnBatch, OwnBatchOnly};
pub use pool::Pool;
pub use process::{ProcessLauncher, ProcessOptions};
