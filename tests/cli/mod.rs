//! The `afn` command as people and scripts meet it: the real binary on an embedded context of its own, without Docker,
//! LocalStack or network.

#[cfg(feature = "aws")]
mod account;
mod arrays;
mod batch;
mod calls;
mod cases;
mod context;
mod damage;
mod definitions;
mod doctor;
mod fetch;
mod fleet;
mod hostile_text;
mod operate;
mod privacy;
mod retention;
mod secrets;
mod usage;
mod workers;
mod world;
