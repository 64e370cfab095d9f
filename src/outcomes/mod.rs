//! The log of a chunk: where the calls of a batch are decided, each in the first part that names it. Written by workers
//! and by whoever cancels one call; read by everybody. Knows no queue and no executor.

pub mod chunks;
pub mod listing;
pub mod log;
pub mod logs;
pub mod pointer;

pub use listing::Listing;
pub use log::{Appended, Chunk, Log};
pub use logs::Logs;
pub use pointer::app_of;
