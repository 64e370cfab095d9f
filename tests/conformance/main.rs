//! One suite for every store and queue, run on what needs no network: memory, SQLite, and both under each decorator.

#[macro_use]
mod suite;

mod bad_days;
mod child;
mod faults;
mod memory;
mod paused;
mod processes;
mod properties;
mod sound;
mod sqlite;
