//! Executors: Docker for images, child processes for archives. A launcher starts sandboxes, the pool keeps hot ones.

pub mod composite;
pub mod docker;
pub mod pool;
pub mod process;
pub mod sandbox;
pub mod scripted;

pub use composite::Composite;
pub use docker::{DockerLauncher, DockerOptions};
pub use pool::Pool;
pub use process::{ProcessLauncher, ProcessOptions};
