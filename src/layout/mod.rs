//! What lies in the bucket and what travels on the queues: every key, every message, every persisted body, built and
//! parsed here and nowhere else.

pub mod batch;
pub mod chunk;
pub mod decided;
pub mod footer;
pub mod key;
pub mod message;
pub mod note;
pub mod object;
pub mod part;
pub mod table;

pub use key::Key;
pub use message::{CallMessage, Message, RangeMessage, SuperviseMessage};
