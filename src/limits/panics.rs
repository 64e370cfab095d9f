//! Limits of what becomes of a worker's task that panics.

use std::time::Duration;

use super::{KIB, RETENTION};

/// A worker drains and ends with an error after so many panics of its tasks.
pub const PANICS_MAX: u32 = 3;
/// A panic's message is cut to this many bytes before it is stored.
pub const PANIC_MESSAGE_BYTES_MAX: usize = 512;
/// So are the names of the worker and of its task.
pub const PANIC_NAME_BYTES_MAX: usize = 256;
/// The stored object of a panic. JSON may need six bytes for one.
pub const PANIC_BYTES_MAX: u64 = 8 * KIB;
/// A worker that ends waits this long for the write of a panic.
pub const PANIC_WRITE_MAX: Duration = Duration::from_secs(5);
/// A panic is deleted when it is older.
pub const PANIC_KEPT: Duration = RETENTION;
