//! What every store and every queue must do, bare and under every decorator. Plain async functions: whoever runs them
//! brings the implementation, and says as arguments what it does otherwise. Nothing is skipped.

#[macro_use]
pub mod store;
#[macro_use]
pub mod queue;
