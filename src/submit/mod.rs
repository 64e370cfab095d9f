//! From a request to stored payloads and messages: single calls, batches; cancelling, resuming and sealing what was
//! submitted; what went to the dead letters. Knows no worker.

pub mod batch;
pub mod call;
pub mod cancel;
pub mod cancel_batch;
pub mod chunker;
pub mod dead;
pub mod resume;
pub mod retry;
pub mod seal;
pub mod send;
pub mod source;
pub mod standing;
mod stream;
mod window;
