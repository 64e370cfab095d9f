//! Reading calls back: where one stands, what it answered, which there are, why nothing moves. Reads the store (and the
//! queue's depth), writes nothing, and must not know who asks: no printing, no HTTP.

pub mod body;
pub mod call;
pub mod wait;

pub use call::CallView;
