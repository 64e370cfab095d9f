//! The domain: names, ids, definitions, calls, outcomes. Plain data; knows no store, queue or clock.

pub mod app;
pub mod call;
pub mod function;
pub mod id;
pub mod name;
pub mod nearest;
pub mod outcome;
pub mod price;
pub mod time;

pub use app::{App, Config};
pub use call::{CallFacts, State};
pub use function::{Format, Function, Kind, Limits, Source, Version, machine};
pub use id::{AttemptId, BatchId, CallId, DeliveryId, MessageId, Nonce};
pub use name::{AppName, Digest, FunctionName, Route, VersionId};
pub use outcome::{AttemptFacts, Outcome, Stored};
pub use time::Time;
