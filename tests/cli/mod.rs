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
mod flat_cases;
mod fleet;
mod hostile_text;
mod init;
mod keys;
mod operate;
mod outputs;
mod privacy;
mod retention;
mod secrets;
mod selection;
mod usage;
mod workers;
mod world;
