//! What the tests share: a home and a context to run the `afn` binary in, processes, the contracts of store and queue,
//! a process executor.

#[macro_use]
pub mod suite;

pub mod bench;
pub mod child;
pub mod command;
pub mod proc;
pub mod sound;
pub mod world;

pub use command::{PATIENCE, Running};
pub use world::World;
