//! The domain: names, ids, definitions, calls, outcomes. Plain data; knows no store, queue or clock.

pub mod app;
pub mod array_job;
pub mod attempt;
pub mod batch_limits;
pub mod call;
pub(crate) mod checked;
pub mod config_value;
pub mod function;
pub mod id;
pub(crate) mod json_object;
pub mod name;
pub mod nearest;
pub mod outcome;
pub mod price;
pub mod queue_name;
pub mod reference;
pub mod retention;
pub mod source_object;
pub(crate) mod text;
pub mod time;
pub mod webhook;

pub use app::{App, Config};
pub use array_job::{ArrayJob, IndexRange};
pub use attempt::AttemptHistory;
pub use batch_limits::{BatchLimits, Rate};
pub use call::{CallFacts, State};
pub use config_value::{AwsSecret, ConfigValue, SecretRef};
pub use function::{Format, Function, Kind, Limits, Source, Version, machine};
pub use id::{
    AttemptId, BatchId, CallId, DeliveryId, MarkId, MessageId, Nonce, PanicId, StoreId, WatermarksId,
};
pub use name::{AppName, Digest, FunctionName, Route, VersionId};
pub use outcome::{AttemptFacts, Outcome, Stored};
pub use queue_name::{PerQueue, QueueName};
pub use reference::{BatchRef, CallRef};
pub use retention::Retention;
pub use source_object::{BucketName, FetchSource, Region, SourceObject};
pub use text::{fold_digits, fold_numbers};
pub use time::Time;
