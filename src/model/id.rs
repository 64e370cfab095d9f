//! Ids: ULIDs minted from the injected clock and randomness. Of the 80 free bits the top one tells a batch (1) from a
//! single call (0, as in Fn's own ids); a batch's calls carry its first 88 bits and their number in the last 40.
//! Persisted, keep stable.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::text::text_json;
use super::time::Time;
use crate::error::Error;

const NUMBER_BITS: u32 = 40;
const NUMBER_MASK: u128 = (1 << NUMBER_BITS) - 1;
const BATCH_FLAG: u128 = 1 << 79;

/// The highest number that a call of a batch can have.
pub const NUMBER_MAX: u64 = NUMBER_MASK as u64;

macro_rules! ulids {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $check:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            pub fn time(&self) -> Time {
                Time(self.0.timestamp_ms())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name, Error> {
                let check: fn($name, &str) -> Result<$name, Error> = $check;
                let id = Ulid::from_string(text).ok().map($name).filter(|id| id.to_string() == text);
                check(id.ok_or_else(|| malformed($what, text))?, text)
            }
        }

        /// The whole id, whose order is that of its text.
        impl From<$name> for u128 {
            fn from(id: $name) -> u128 {
                id.0.0
            }
        }

        text_json!($name);
    )+};
}

fn malformed(what: &str, text: &str) -> Error {
    Error::invalid(format!("`{text}` is not a {what}"))
        .with_hint("an id has 26 characters, like 01BVJ5T7CA07WGE00000000000")
}

ulids! {
    /// One call: single, or number *n* of a batch.
    CallId, "call id", |id, text| match id.number() {
        Some(0) => Err(Error::invalid(format!("`{text}` is the id of a batch, not of a call"))
            .with_hint("a call's id ends in its number")),
        _ => Ok(id),
    };
    /// A batch: the common prefix of its call ids, then forty zero bits.
    BatchId, "batch id", |id, text| {
        let is_batch = id.0.random() & BATCH_FLAG != 0 && id.0.random() & NUMBER_MASK == 0;
        let call = || Error::invalid(format!("`{text}` is the id of a call, not of a batch"));
        is_batch.then_some(id).ok_or_else(call)
    };
    /// Minted by the sender of a message, so that two messages to one call can be told apart (N8).
    MessageId, "message id", |id, _| Ok(id);
    /// One store: the bucket and prefix, the file or the memory that the objects of a context lie in.
    StoreId, "store id", |id, _| Ok(id);
    /// A panic of a worker's task.
    PanicId, "id of a panic", |id, _| Ok(id);
    /// What a turn of upkeep has left for the next one.
    WatermarksId, "id of watermarks", |id, _| Ok(id);
}

impl CallId {
    /// The id of a single call, from 80 random bits of which one is spent on the flag.
    pub fn single(now: Time, random: u128) -> CallId {
        CallId(Ulid::from_parts(now.0, random & (BATCH_FLAG - 1)))
    }

    /// The id of the one call that follows a batch: its time, and bits of its digest, so that every worker that finishes
    /// the batch sends the same call.
    pub fn following(batch: BatchId) -> CallId {
        let digest: [u8; 32] = Sha256::digest(batch.to_string().as_bytes()).into();
        let random = digest.iter().take(16).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        CallId::single(batch.time(), random)
    }

    pub fn batch(&self) -> Option<BatchId> {
        let random = self.0.random();
        (random & BATCH_FLAG != 0)
            .then(|| BatchId(Ulid::from_parts(self.0.timestamp_ms(), random & !NUMBER_MASK)))
    }

    /// A call's place in its batch, from 1.
    pub fn number(&self) -> Option<u64> {
        self.batch().map(|_| (self.0.random() & NUMBER_MASK) as u64)
    }
}

impl BatchId {
    pub fn new(now: Time, random: u128) -> BatchId {
        let random = (random & (BATCH_FLAG - 1)) | BATCH_FLAG;
        BatchId(Ulid::from_parts(now.0, random & !NUMBER_MASK))
    }

    /// The id of call `number`, which counts from 1.
    pub fn call(&self, number: u64) -> CallId {
        assert!(
            (1..=NUMBER_MAX).contains(&number),
            "a call's number lies in 1 to {NUMBER_MAX}, not {number}"
        );
        CallId(Ulid(self.0.0 | u128::from(number)))
    }
}

impl MessageId {
    pub fn new(now: Time, random: u128) -> MessageId {
        MessageId(Ulid::from_parts(now.0, random))
    }
}

impl PanicId {
    pub fn new(now: Time, random: u128) -> PanicId {
        PanicId(Ulid::from_parts(now.0, random))
    }
}

impl WatermarksId {
    pub fn new(now: Time, random: u128) -> WatermarksId {
        WatermarksId(Ulid::from_parts(now.0, random))
    }
}

impl StoreId {
    pub fn new(now: Time, random: u128) -> StoreId {
        StoreId(Ulid::from_parts(now.0, random))
    }
}

/// Ids that are another id, a dot, and a count without leading zeros, of which `$first` is the first.
macro_rules! counted_ids {
    ($($(#[$doc:meta])* $name:ident { $of:ident: $id:ident, $count:ident from $first:literal }, $what:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            pub $of: $id,
            pub $count: u32,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.$of, self.$count)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name, Error> {
                let id = text.rsplit_once('.').and_then(|(of, count)| {
                    let count = count.parse().ok().filter(|count| ($first..).contains(count))?;
                    Some($name { $of: of.parse().ok()?, $count: count })
                });
                id.filter(|id| id.to_string() == text)
                    .ok_or_else(|| Error::invalid(format!("`{text}` is not {}", $what)))
            }
        }

        text_json!($name);
    )+};
}

counted_ids! {
    /// One delivery of a message: `{message}.{delivery}`. The queue counts the deliveries.
    DeliveryId { message: MessageId, delivery from 1 }, "a delivery like MESSAGE.1";
    /// One execution of a call: `{message}.{delivery}.{attempt}`. No two executions share one, unless the lost
    /// answer to a send has made two messages of one id (N8).
    AttemptId { delivery: DeliveryId, attempt from 1 }, "an attempt like MESSAGE.1.1";
    /// One mark of one delivery: `{message}.{delivery}.{n}`.
    MarkId { delivery: DeliveryId, n from 0 }, "a mark like MESSAGE.1.1";
}

/// A fresh value in every body that compare-and-swap may rewrite, so that an ETag never comes back, and in every
/// object of whose write the answer may be lost, so that one's own is told from a rival's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(u64);

impl Nonce {
    pub fn new(random: u64) -> Nonce {
        Nonce(random)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Nonce {
    type Err = Error;

    fn from_str(text: &str) -> Result<Nonce, Error> {
        let value = u64::from_str_radix(text, 16).ok().map(Nonce).filter(|nonce| nonce.to_string() == text);
        value.ok_or_else(|| Error::invalid(format!("`{text}` is not a nonce of 16 hex digits")))
    }
}

text_json!(Nonce);
