//! From a request to a stored payload and a message; cancelling what was submitted; what went to the dead letters. Knows
//! no worker.

pub mod call;
pub mod cancel;
pub mod dead;
pub mod send;
