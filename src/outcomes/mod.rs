//! The log of a chunk decides the calls of a batch: each call in the first part that names it. Workers write it, and so
//! does a client that cancels one call. This module knows no queue and no executor.

pub mod backlog;
pub mod chunks;
pub mod dispatched;
pub mod facts;
pub mod listing;
pub mod log;
pub mod logs;
pub mod pointer;
pub mod status;

pub use facts::{BatchFacts, deleted_error};
pub use listing::Listing;
pub use log::{Appended, Chunk, Log};
pub use logs::Logs;
pub use pointer::app_of;
pub use status::{BatchStatus, failed, is_failed};
