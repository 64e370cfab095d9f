//! Reading calls back: where one stands, what it answered, which there are, why nothing moves. Reads the store (and the
//! queue's depth), writes nothing, and must not know who asks: no printing, no HTTP.

pub mod attempts;
pub mod batch;
pub mod body;
pub mod call;
pub mod cost;
pub mod export;
#[cfg(test)]
mod fixture;
pub mod list;
mod merge;
pub mod reasons;
pub mod report;
pub mod rows;
pub mod wait;
pub mod why;
mod window;

pub use batch::BatchView;
pub use call::CallView;
