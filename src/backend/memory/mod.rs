//! Store and queues in memory, for tests and simulation: ordered throughout, timed by the injected clock alone, and
//! where S3 and SQS are unkind, as unkind as they are (an ETag that comes back with the bytes, old receipts that still
//! work), so that what holds here holds there. Knows the deps and nothing of the engine.

mod queue;
mod store;

pub use queue::MemoryQueue;
pub use store::MemoryStore;
