//! From a request to stored payloads and messages: single calls, batches; cancelling, resuming and sealing what was
//! submitted; what went to the dead letters. Knows no worker.

pub mod batch;
pub mod call;
pub mod cancel;
pub mod cancel_batch;
pub mod chunker;
pub mod control;
pub mod dead_letters;
pub mod estimate;
mod failures;
mod in_flight;
pub mod resume;
pub mod retry;
pub mod seal;
pub mod send;
mod snapshot;
pub mod source;
mod stream;
mod submission;
mod supervisor;
