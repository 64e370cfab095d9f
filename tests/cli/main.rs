//! The `afn` command as people and scripts meet it: the real binary on an embedded context of its own, without Docker,
//! LocalStack or network.

mod batch;
mod calls;
mod context;
mod definitions;
mod operate;
mod usage;
mod workers;
mod world;
