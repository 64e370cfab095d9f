//! One suite for every store and queue, run on what needs no network: memory, SQLite, and both under each decorator.

use crate::support::{child, sound, suite};

mod bad_days;
mod facts;
mod faults;
mod forged;
mod groups;
mod memory;
mod processes;
mod properties;
mod sqlite;
