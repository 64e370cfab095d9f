//! What lies in the bucket and what travels on the queues: every key, every message, every persisted body, built and
//! parsed here and nowhere else.

pub mod batch;
pub mod chunk;
pub mod control;
pub mod decided;
pub mod envelope;
pub mod fact;
pub mod footer;
pub mod key;
pub mod message;
pub mod metadata;
pub mod object;
pub mod origin;
pub mod part;
pub mod runs;
pub mod table;
pub mod watermarks;

pub use fact::{Definition, Fact};
pub use key::Key;
pub use message::{CallMessage, Message, RangeMessage, SuperviseMessage};
pub use runs::{PendingCall, Run, Runs};
