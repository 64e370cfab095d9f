//! From a request to a stored payload and a message; cancelling what was submitted. Knows no worker.

pub mod call;
pub mod cancel;
pub mod send;
